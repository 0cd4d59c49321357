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
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from common import write_result
from sklearn.linear_model import Ridge
from torch import Tensor
from tqdm import tqdm

from s3prl_compress.encoder import SpeechEncoder, load
from s3prl_compress.encoder.cost import cost
from s3prl_compress.methods.audio import waveforms
from s3prl_compress.outputs import pick_device

FIT_SECONDS = 300.0


Maps = list[npt.NDArray[np.float32]]
"""Of every state: what the other encoder's frames are multiplied by, [hidden, reference's]."""


@torch.no_grad()
def centred_states(
    reference: SpeechEncoder, other: SpeechEncoder, speech: list[Tensor]
) -> Iterator[list[tuple[Tensor, Tensor]]]:
    """Yield the states of both for every utterance, less their means: pairs [frames, hidden]."""
    for wave in tqdm(speech, leave=False, unit="utterance"):
        pairs = zip(reference([wave])[0], other([wave])[0], strict=True)
        yield [(x[0] - x[0].mean(0), y[0] - y[0].mean(0)) for x, y in pairs]


def linear_maps(reference: SpeechEncoder, other: SpeechEncoder, speech: list[Tensor]) -> Maps:
    """Fit what brings each of the other encoder's states closest to the reference's."""
    utterances = list(centred_states(reference, other, speech))
    maps = []
    for pairs in zip(*utterances, strict=True):
        x, y = (torch.cat(own).cpu().numpy() for own in zip(*pairs, strict=True))
        maps.append(Ridge(alpha=1.0, fit_intercept=False).fit(y, x).coef_.T)
    return maps


def relative_errors(
    reference: SpeechEncoder, other: SpeechEncoder, speech: list[Tensor], maps: Maps | None = None
) -> npt.NDArray[np.float64]:
    """Return the relative error of every utterance's states, [utterances, layers + 1].

    maps: what the other encoder's states go through first.
    """
    rows = []
    for pairs in centred_states(reference, other, speech):
        row = []
        for state, (x, y) in enumerate(pairs):
            mapped = y if maps is None else y @ torch.from_numpy(maps[state]).to(y)
            row.append(float((x - mapped).norm() / x.norm()))
        rows.append(row)
    return np.array(rows)


def heard(folder: Path, seconds: float, reference: SpeechEncoder) -> list[Tensor]:
    """Return the speech of a folder that states are compared on."""
    return list(
        waveforms(
            folder,
            seconds=seconds,
            sampling_rate=reference.sampling_rate,
            minimum_samples=reference.shape.minimum_samples,
            seed=0,
        )
    )


def text(values: npt.NDArray[np.float64]) -> str:
    """Return a mean over utterances with its standard error."""
    return f"{values.mean():.3f} ± {values.std(ddof=1) / np.sqrt(len(values)):.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("reference", help="the encoder that the others were made from")
    parser.add_argument("others", nargs="+", help="checkpoints; what is none is passed over")
    parser.add_argument("--audio", type=Path, required=True, help="folder of speech")
    parser.add_argument("--seconds", type=float, default=120.0, help="of it to use")
    parser.add_argument("--fit", type=Path, help="folder of other speech, for linear maps")
    parser.add_argument("--device")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    device = pick_device(arguments.device)
    reference = load(arguments.reference).to(device).eval()
    speech = heard(arguments.audio, arguments.seconds, reference)
    fitted = None if arguments.fit is None else heard(arguments.fit, FIT_SECONDS, reference)
    figures = {}
    head = ["upstream", "parameters", f"{len(speech)} utterances, all states", "last state"]
    head += [] if fitted is None else ["all, after a linear map", "last, after it"]
    print(f"| {' | '.join(head)} |")
    print(f"|---|{'---:|' * (len(head) - 1)}")
    for source in arguments.others:
        if Path(source).is_dir() and not (Path(source) / "config.json").is_file():
            continue
        if Path(source).is_file() and source.endswith(".json"):
            continue
        other = load(source).to(device).eval()
        kept = cost(other).parameters / cost(reference).parameters
        found = {"states": relative_errors(reference, other, speech)}
        if fitted is not None:
            maps = linear_maps(reference, other, fitted)
            found["mapped_states"] = relative_errors(reference, other, speech, maps)
        figures[Path(source).name] = {
            "parameters": kept,
            **{name: errors.tolist() for name, errors in found.items()},
        }
        texts = [
            text(values) for errors in found.values() for values in (errors.mean(1), errors[:, -1])
        ]
        print(f"| {Path(source).name} | {100 * kept:.0f} % | {' | '.join(texts)} |", flush=True)
    write_result(arguments.output, figures, device)


if __name__ == "__main__":
    main()
