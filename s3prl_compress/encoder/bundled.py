"""Encoders that come with the package, by name."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from ..common.errors import InputError

BUNDLED = {
    "hubert_demo": "recipes/pretrain/hubert_demo.yaml",
    "hubert_demo_ctc": "recipes/compress/ctc_hubert_demo.yaml",
}
"""Name -> the recipe of its training. Each name is also registered in s3prl's hub."""


def bundled_folder(name: str) -> Path:
    """Return the checkpoint folder of a bundled encoder.

    Raises:
        InputError: the weights are missing from this installation.
    """
    folder = upstreams_folder() / name
    if not (folder / "model.safetensors").is_file():
        raise InputError(
            f"{name}: {folder} holds no model.safetensors, so this installation came without its "
            f"weights; install a release, or train them with {BUNDLED[name]} and give the folder"
        )
    return folder


def upstreams_folder() -> Path:
    """Return the folder of the packaged upstreams."""
    return Path(str(resources.files("s3prl_compress.upstreams")))
