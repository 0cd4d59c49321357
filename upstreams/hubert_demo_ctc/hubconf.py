"""The entry that s3prl's hub gets; see `s3prl_compress.s3prl_bridge.registration`."""

from __future__ import annotations

from typing import Any

from s3prl_compress.upstreams.hubert_demo_ctc.expert import UpstreamExpert as _UpstreamExpert


def hubert_demo_ctc(ckpt: Any = None, *args: Any, **kwargs: Any) -> _UpstreamExpert:
    """Return the package's own small recogniser as an s3prl upstream.

    Arguments are those of `UpstreamExpert`; s3prl's `refresh` is taken and has no effect.
    """
    return _UpstreamExpert(ckpt, *args, **kwargs)
