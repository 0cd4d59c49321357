"""Everything that knows s3prl: the mends, the registration, the runner's driver.

Importing this room imports neither s3prl nor anything heavy: the package itself needs it for
`torchaudio_stand_in`.
"""

from __future__ import annotations

__all__ = ["register"]


def register() -> None:
    """Add our upstreams to `s3prl.hub`; see `registration.register`. Takes some seconds."""
    from .registration import register as add

    add()
