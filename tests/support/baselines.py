"""Small shapes, and the module `benchmarks/baselines.py`, which is not in a package."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from s3prl_compress.encoder import EncoderShape, SpeechEncoder, dense_shape, random_encoder

_PATH = Path(__file__).parents[2] / "benchmarks" / "baselines.py"
_spec = importlib.util.spec_from_file_location("benchmark_baselines", _PATH)
assert _spec is not None
assert _spec.loader is not None
baselines = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(baselines)

TOLERANCE = 1e-4  # of each state's largest value

VARIANTS = [
    (family, large) for family in ("hubert", "wav2vec2", "wavlm") for large in (False, True)
]
NAMES = [f"{family}-{'large' if large else 'base'}" for family, large in VARIANTS]


def small_shape(family: str, large: bool, **sizes: object) -> EncoderShape:
    """Two layers with the published kernels, and widths that tell every axis apart."""
    return dense_shape(
        family,  # type: ignore[arg-type]
        **{
            "hidden": 48,
            "layers": 2,
            "heads": 4,
            "ffn": 80,
            "conv_widths": (24, 28, 32, 36, 40, 44, 56),
            "large": large,
            **sizes,
        },  # type: ignore[arg-type]
    )


def small_encoder(family: str, large: bool, normalize: bool = False) -> SpeechEncoder:
    """An encoder of that shape all of whose weights matter."""
    encoder = random_encoder(small_shape(family, large), normalize=normalize).eval()
    baselines.randomise(encoder)
    return encoder


noise = baselines.noise
states_of = baselines.states_of
