"""Error of a compressed encoder's hidden states relative to the encoder that it was made from.

    python benchmarks/state_error.py hubert_demo out/demo/upstreams/* --audio DIR

A score on a small test set has a standard error of points; the state error has almost none, and
shows what a method has changed even if no task score does. It is `|x - y| / |x|`, where x are the
frames of an utterance from the reference encoder and y those from the compressed one, both less
their mean over time, so that constants do not count. Prints the mean over utterances and its
standard error, for the last state and for all states together.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from common import write_result
from sklearn.linear_model import Ridge
from torch import Tensor
from tqdm import tqdm

from s3prl_compress.audio import open_audio
from s3prl_compress.common.validation import pick_device
from s3prl_compress.encoder import SpeechEncoder, load
from s3prl_compress.encoder.cost import cost
from s3prl_compress.methods.calibration_audio import waveforms

FIT_SECONDS = 300.0


States = list[list[Tensor]]
"""Hidden states of every utterance, [frames, hidden] each, less their means over time."""
Errors = npt.NDArray[np.float64]
"""The relative error of every utterance's states, [utterances, layers + 1]."""


@torch.no_grad()
def states_of(encoder: SpeechEncoder, speech: list[Tensor]) -> States:
    """Return the hidden states of utterances, which are encoded one by one."""
    bar = tqdm(speech, leave=False, unit="utterance")
    return [[state[0] - state[0].mean(0) for state in encoder([wave])[0]] for wave in bar]


def relative_errors(reference: States, states: States) -> Errors:
    """Return the relative errors of `states` with respect to `reference`."""
    rows = [
        [float((x - y).norm() / x.norm()) for x, y in zip(*utterance, strict=True)]
        for utterance in zip(reference, states, strict=True)
    ]
    return np.array(rows)


def mapped(states: States, fitted: States, target: States) -> States:
    """Return states after a linear map of each, fitted on other utterances by ridge regression.

    Args:
        states: states of an encoder.
        fitted: states of the same encoder, for the other utterances.
        target: states of the reference encoder, for the other utterances.
    """
    maps = []
    for number in range(len(states[0])):
        y, x = (torch.cat([own[number] for own in side]) for side in (fitted, target))
        fit = Ridge(alpha=1.0, fit_intercept=False).fit(y.cpu().numpy(), x.cpu().numpy())
        maps.append(torch.from_numpy(fit.coef_.T).to(y))
    return [[y @ own for y, own in zip(utterance, maps, strict=True)] for utterance in states]


def heard(folder: Path, seconds: float, reference: SpeechEncoder) -> list[Tensor]:
    """Return the waveforms of a folder on which states are compared."""
    return list(
        waveforms(
            open_audio(folder),
            seconds=seconds,
            minimum_samples=reference.shape.minimum_samples,
            seed=0,
        )
    )


def text(values: npt.NDArray[np.float64], sign: str = "") -> str:
    """Return a mean over utterances with its standard error."""
    return f"{values.mean():{sign}.3f} ± {values.std(ddof=1) / np.sqrt(len(values)):.3f}"


def columns(errors: dict[str, Errors]) -> npt.NDArray[np.float64]:
    """Return the columns of the table, [columns, utterances]: mean of all states, and the last."""
    return np.array([values for own in errors.values() for values in (own.mean(1), own[:, -1])])


def is_checkpoint(source: str) -> bool:
    """Tell checkpoints and their names from other files that a shell pattern may have matched."""
    path = Path(source)
    return (path / "config.json").is_file() if path.is_dir() else path.suffix != ".json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("reference", help="the encoder that the others were made from")
    parser.add_argument("others", nargs="+", help="checkpoints; other files are skipped")
    parser.add_argument("--audio", type=Path, required=True, help="folder of speech")
    parser.add_argument("--seconds", type=float, default=120.0, help="amount of speech to use")
    parser.add_argument("--fit", type=Path, help="folder of other speech, for linear maps")
    parser.add_argument("--less", help="name of a row; also print paired differences from it")
    parser.add_argument("--device")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    others = {Path(one).name: one for one in arguments.others if is_checkpoint(one)}
    if arguments.less is not None and arguments.less not in others:
        parser.error(f"--less {arguments.less}: there are: {', '.join(others)}")
    device = pick_device(arguments.device)
    reference = load(arguments.reference).to(device).eval()
    speech = heard(arguments.audio, arguments.seconds, reference)
    wanted = states_of(reference, speech)
    fitting = [] if arguments.fit is None else heard(arguments.fit, FIT_SECONDS, reference)
    wanted_there = states_of(reference, fitting)
    head = ["upstream", "parameters", f"{len(speech)} utterances, all states", "last state"]
    head += ["all, after a linear map", "last, after it"] if fitting else []
    print(f"| {' | '.join(head)} |")
    print(f"|---|{'---:|' * (len(head) - 1)}")
    figures, rows = {}, {}
    for name, source in others.items():
        other = load(source).to(device).eval()
        if len(other.shape.layers) != len(reference.shape.layers):
            print(f"{name}: passed over, since it has another number of layers", file=sys.stderr)
            continue
        kept = cost(other).parameters / cost(reference).parameters
        found = states_of(other, speech)
        errors = {"states": relative_errors(wanted, found)}
        if fitting:
            there = states_of(other, fitting)
            errors["mapped_states"] = relative_errors(wanted, mapped(found, there, wanted_there))
        figures[name] = {"parameters": kept} | {key: own.tolist() for key, own in errors.items()}
        rows[name] = columns(errors)
        texts = " | ".join(text(values) for values in rows[name])
        print(f"| {name} | {100 * kept:.0f} % | {texts} |", flush=True)
    if arguments.less in rows:
        for name in (one for one in rows if one != arguments.less):
            differences = rows[name] - rows[arguments.less]
            texts = " | ".join(text(values, "+") for values in differences)
            print(f"| {name} less {arguments.less} | | {texts} |")
    write_result(arguments.output, figures, device)


if __name__ == "__main__":
    main()
