"""The entry that s3prl's hub gets; see `s3prl_compress.s3prl_bridge.registration`."""

from __future__ import annotations

from typing import Any

from s3prl_compress.upstreams.compressed.expert import UpstreamExpert as _UpstreamExpert


def compressed(ckpt: Any = None, *args: Any, **kwargs: Any) -> _UpstreamExpert:
    """Return any encoder of s3prl_compress as an s3prl upstream.

    ckpt: a folder of ours, a transformers folder, an s3prl-converted `.pt`, or a hub id. Further
    arguments are those of `UpstreamExpert` (`model_config`, `padding`); s3prl's `refresh` is taken
    and has no effect.
    """
    return _UpstreamExpert(ckpt, *args, **kwargs)
