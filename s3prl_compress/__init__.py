"""Compress speech encoders, register them as s3prl upstreams, and score them on SUPERB.

The main functions, which are imported on first use:

    encoder = s3prl_compress.load("facebook/hubert-base-ls960")
    smaller = s3prl_compress.compress(encoder, "clustering", sparsity=0.1)
    s3prl_compress.save(smaller, "out/fold10")
    s3prl_compress.score("out/fold10", task="ks", data="corpora/ks", output="results")
    s3prl_compress.register()  # now s3prl.nn.S3PRLUpstream("compressed", path_or_url="out/fold10")
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .common.lazy import imported_on_first_use
from .s3prl_bridge.torchaudio_stand_in import ensure_torchaudio_on_import
from .transformers_bridge.registration import register_on_import
from .version import __version__

if TYPE_CHECKING:
    from .encoder import load, save
    from .evaluation import score, score_seeds
    from .methods import compress
    from .s3prl_bridge import register

__all__ = ["__version__", "compress", "load", "register", "save", "score", "score_seeds"]

# It must run before anything imports transformers, which imports torchaudio. It imports neither, so
# that `import s3prl_compress` is quick.
ensure_torchaudio_on_import()
# transformers' AutoModel then loads checkpoint folders; nothing is imported here either.
register_on_import()

__getattr__, __dir__ = imported_on_first_use(
    __name__,
    {
        "load": "encoder",
        "save": "encoder",
        "compress": "methods",
        "score": "evaluation",
        "score_seeds": "evaluation",
        "register": "s3prl_bridge",
    },
)
