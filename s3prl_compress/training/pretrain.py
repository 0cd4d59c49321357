"""The former name of `s3prl-compress pretrain`; it will be removed in the next release."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `s3prl-compress pretrain` and return its exit code."""
    print(
        "warning: python -m s3prl_compress.training.pretrain is deprecated and will be removed in "
        "the next release; use: s3prl-compress pretrain",
        file=sys.stderr,
    )
    argv = list(sys.argv[1:] if arguments is None else arguments)
    # Imported by name: the command line stands above this package, which must not depend on it.
    code: int = import_module("s3prl_compress.cli").main(["pretrain", *argv])
    return code


if __name__ == "__main__":
    sys.exit(main())
