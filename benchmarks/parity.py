"""Parity at full depth with transformers, with s3prl's experts, and between batch sizes.

    python benchmarks/parity.py --output out/parity.json

HuBERT, wav2vec2 and WavLM, base and large, are written with random weights in the other projects'
own formats and read by the importers. For each there are three comparisons over all L + 1 hidden
states; the result is the largest difference relative to the largest value of the state:

- transformers: single utterances, compared with transformers' model;
- s3prl: a padded batch with `padding="fairseq"`, compared with s3prl's own expert;
- alone: an utterance alone, compared with the same one in that batch (`padding="independent"`).

Models are checked one at a time; a large one needs about 5 GiB of memory and 1.3 GB of temporary
disk space.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from baselines import (
    largest_difference,
    noise,
    s3prl_expert,
    s3prl_file,
    s3prl_states,
    states_of,
    transformers_model,
    transformers_states,
)
from common import write_result
from tqdm import tqdm

from s3prl_compress.encoder import NAMED_SHAPES, EncoderShape, SpeechEncoder, load
from s3prl_compress.s3prl_bridge.compat import apply_patches

TOLERANCE = 1e-4
MODELS = tuple(
    f"{family}_{size}" for size in ("base", "large") for family in ("hubert", "wav2vec2", "wavlm")
)
# Lengths in samples, for which s3prl's two mask rules give different numbers of frames.
SINGLE = (47_999, 32_000)
BATCH = (48_000, 47_000, 33_333, 16_080)


def against_transformers(shape: EncoderShape, folder: Path) -> float:
    """Return the largest difference from transformers, over single utterances."""
    model = transformers_model(shape)
    model.save_pretrained(folder)
    # Said here because save_pretrained of a model alone writes no preprocessor.
    (folder / "preprocessor_config.json").write_text(json.dumps({"do_normalize": False}))
    theirs = [transformers_states(model, waveform) for waveform in noise(*SINGLE)]
    del model
    gc.collect()
    encoder = load(folder)
    return max(
        largest_difference(states_of(encoder, [waveform]), states)
        for waveform, states in zip(noise(*SINGLE), theirs, strict=True)
    )


def against_s3prl(shape: EncoderShape, path: Path) -> tuple[float, float]:
    """Return the largest differences from s3prl's expert, and between alone and batched."""
    # As published: the large models normalise their input, the base models do not.
    s3prl_file(shape, path, normalize=shape.pre_norm)
    expert = s3prl_expert(shape.family, path)
    theirs = s3prl_states(expert, noise(*BATCH))
    del expert
    gc.collect()  # its hooks refer to itself
    encoder = load(path, padding="fairseq")
    difference = largest_difference(states_of(encoder, noise(*BATCH)), theirs)
    encoder.padding = "independent"
    return difference, alone_from_batched(encoder)


def alone_from_batched(encoder: SpeechEncoder) -> float:
    """Return the largest difference between an utterance alone and in the batch."""
    waveforms = noise(*BATCH)
    together = states_of(encoder, waveforms)
    worst = 0.0
    for number, waveform in enumerate(waveforms):
        frames = encoder.shape.frames(len(waveform))
        own = [state[number : number + 1, :frames] for state in together]
        worst = max(worst, largest_difference(own, states_of(encoder, [waveform])))
    return worst


def figures(models: list[str]) -> Iterator[dict[str, Any]]:
    """Yield one row per model."""
    for name in tqdm(models, file=sys.stderr):
        start = time.perf_counter()
        shape = NAMED_SHAPES[name]
        with tempfile.TemporaryDirectory() as scratch:
            row: dict[str, Any] = {"model": name, "states": len(shape.layers) + 1}
            row["transformers"] = against_transformers(shape, Path(scratch, "transformers"))
        with tempfile.TemporaryDirectory() as scratch:
            row["s3prl"], row["alone"] = against_s3prl(shape, Path(scratch, "model.pt"))
        checks = (row["transformers"], row["s3prl"], row["alone"])
        row["passed"] = all(difference <= TOLERANCE for difference in checks)  # False for NaN
        row["seconds"] = round(time.perf_counter() - start, 1)
        yield row


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    apply_patches()

    rows = list(figures(arguments.models))
    print(f"{'model':16}{'states':>7}{'transformers':>14}{'s3prl':>10}{'alone':>10}  at most 1e-4")
    for row in rows:
        numbers = f"{row['transformers']:14.1e}{row['s3prl']:10.1e}{row['alone']:10.1e}"
        verdict = "passed" if row["passed"] else "FAILED"
        print(f"{row['model']:16}{row['states']:7}{numbers}  {verdict}")
    write_result(arguments.output, {"tolerance": TOLERANCE, "rows": rows})
    return 0 if all(row["passed"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
