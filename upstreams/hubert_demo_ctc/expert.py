"""A small recogniser, fine-tuned on four hours of read speech, as an s3prl upstream."""

from __future__ import annotations

from s3prl_compress.upstreams.hubert_demo.expert import UpstreamExpert as _Bundled


class UpstreamExpert(_Bundled):
    """The encoder that `s3prl_compress.load("hubert_demo_ctc")` returns, without its CTC head."""

    bundled = "hubert_demo_ctc"
