"""The entry for s3prl's hub; see `s3prl_compress.s3prl_bridge.registration`."""

from __future__ import annotations

from typing import Any

from s3prl_compress.upstreams.compressed.expert import UpstreamExpert as _UpstreamExpert


def compressed(ckpt: Any = None, *args: Any, **kwargs: Any) -> _UpstreamExpert:
    """Return an encoder of s3prl_compress as an s3prl upstream.

    Args:
        ckpt: a checkpoint folder, a transformers folder, an s3prl-converted `.pt`, or a hub id.
        args: further arguments of `UpstreamExpert`.
        kwargs: the same by name (`model_config`, `padding`); s3prl's `refresh` is ignored.
    """
    return _UpstreamExpert(ckpt, *args, **kwargs)
