"""The bridge to s3prl: patches, registration in its hub, and the driver of its runner.

Importing this package imports neither s3prl nor anything heavy: `s3prl_compress` itself imports
`torchaudio_stand_in` from it. Further public modules: `compat` (patches), `config` and `downstream`
(to write a task's adapter), `engine`, `registration`, `upstream` (third-party upstreams) and
`workers`.
"""

from __future__ import annotations

__all__ = ["register"]


def register() -> None:
    """Add our upstreams to `s3prl.hub`; see `registration.register`. Takes some seconds."""
    from .registration import register as add

    add()
