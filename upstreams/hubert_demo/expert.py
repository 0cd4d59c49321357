"""A small HuBERT, pre-trained on four hours of read speech, as an s3prl upstream."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from s3prl_compress.upstreams.compressed.expert import UpstreamExpert as _Compressed


class UpstreamExpert(_Compressed):
    """The encoder that `s3prl_compress.load("hubert_demo")` returns; no `-k` is needed.

    Args:
        ckpt: another checkpoint in its place, as for the upstream `compressed`.
        model_config: the padding, see the upstream `compressed`.
        options: further ones of the upstream `compressed`.
    """

    bundled: ClassVar[str] = "hubert_demo"
    """Name of the encoder."""

    def __init__(
        self,
        ckpt: str | Path | None = None,
        model_config: str | Path | None = None,
        **options: Any,
    ) -> None:
        super().__init__(ckpt or self.bundled, model_config, **options)
