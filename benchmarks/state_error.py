"""How far a compressed encoder's hidden states are from those of the encoder it was made from.

    python benchmarks/state_error.py hubert_demo out/demo/upstreams/* --audio DIR

A score on a small test set has errors of points; this has next to none, and shows what a method
changed even where no task notices. Per state, and over all of them: the relative error
`|x - y| / |x|`, with x the given encoder's frames of an utterance (less their mean over time, so
that a constant does not count) and y the compressed one's; mean over utterances with its standard
error.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from common import write_result
from tqdm import tqdm

from s3prl_compress.encoder import SpeechEncoder, load
from s3prl_compress.encoder.cost import cost
from s3prl_compress.methods.audio import waveforms
from s3prl_compress.outputs import pick_device


def relative_errors(
    reference: SpeechEncoder, other: SpeechEncoder, speech: list[torch.Tensor]
) -> np.ndarray:
    """Return the relative error of every utterance's states, [utterances, layers + 1]."""
    rows = []
    with torch.no_grad():
        for wave in tqdm(speech, leave=False, unit="utterance"):
            wanted, _ = reference([wave])
            found, _ = other([wave])
            row = []
            for x, y in zip(wanted, found, strict=True):
                x, y = x[0] - x[0].mean(0), y[0] - y[0].mean(0)
                row.append(float((x - y).norm() / x.norm()))
            rows.append(row)
    return np.array(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("reference", help="the encoder that the others were made from")
    parser.add_argument("others", nargs="+", help="checkpoints; what is none is passed over")
    parser.add_argument("--audio", type=Path, required=True, help="folder of speech")
    parser.add_argument("--seconds", type=float, default=120.0, help="of it to use")
    parser.add_argument("--device")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    device = pick_device(arguments.device)
    reference = load(arguments.reference).to(device).eval()
    speech = list(
        waveforms(
            arguments.audio,
            seconds=arguments.seconds,
            sampling_rate=reference.sampling_rate,
            minimum_samples=reference.shape.minimum_samples,
            seed=0,
        )
    )
    figures = {}
    print(f"| upstream | parameters | {len(speech)} utterances, all states | last state |")
    print("|---|---:|---:|---:|")
    for source in arguments.others:
        if Path(source).is_dir() and not (Path(source) / "config.json").is_file():
            continue
        if Path(source).is_file() and source.endswith(".json"):
            continue
        other = load(source).to(device).eval()
        errors = relative_errors(reference, other, speech)
        shares = []
        for values in (errors.mean(1), errors[:, -1]):
            error = float(values.std(ddof=1) / np.sqrt(len(values)))
            shares.append((float(values.mean()), error))
        kept = cost(other).parameters / cost(reference).parameters
        figures[Path(source).name] = {
            "parameters": kept,
            "states": errors.mean(0).tolist(),
            "all": shares[0],
            "last": shares[1],
        }
        texts = " | ".join(f"{mean:.3f} ± {error:.3f}" for mean, error in shares)
        print(f"| {Path(source).name} | {100 * kept:.0f} % | {texts} |")
    write_result(arguments.output, figures, device)


if __name__ == "__main__":
    main()
