"""Compare every method at three sizes with equal training: a table and a plot.

    SPEECH_DATA=DIR python benchmarks/compare_demo.py --output out/compare_demo

Runs the suite `recipes/compare_demo.yaml` (cells that are complete in the output folder are
skipped) and measures the error of every row's hidden states relative to the dense model, directly
and after a linear map of each state, on speech that no row was trained on (see `state_error.py`).
Writes `compare_demo.csv` (all figures, with date and machine) and `compare_demo.png` to
`--results`. Prints the table, and the difference of state errors between each method and its
baselines, paired over utterances.
"""

from __future__ import annotations

import argparse
import os
import re
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator
from state_error import FIT_SECONDS, heard, mapped, relative_errors, states_of
from tqdm import tqdm

from s3prl_compress.common.errors import InputError
from s3prl_compress.common.files import write_atomically
from s3prl_compress.encoder import load
from s3prl_compress.suite import run_suite

SUITE = Path(__file__).parent.parent / "recipes" / "compare_demo.yaml"
DENSE = "hubert_demo"
SETS = {
    "ks_arabic_sc": "KS, Arabic SC",
    "ks_fsdd": "KS, FSDD",
    "sid_arabic_sc": "SID",
    "er_emodb": "ER",
}
METHODS = {
    "structured": ("structured", "#1f6feb", "o"),
    "dphubert": ("dphubert", "#d1480a", "s"),
    "channels.distill": ("channel magnitude + distill", "#6e7781", "v"),
    "fold.distill": ("clustering + distill", "#1a7f37", "D"),
    "pinch.neuron": ("self-pinching, neurons", "#8250df", "P"),
    "prune_rank": ("prune_low_rank", "#0a9396", "X"),
    "rank.distill": ("SVD + distill", "#bf8700", "^"),
    "pinch.weight": ("self-pinching, weights", "#cf222e", "*"),
    "weights.distill": ("weight magnitude + distill", "#24292f", "<"),
}
"""Label, colour and marker by a row's name without its size; dotted lines are without training."""
PAIRS = (
    ("structured", "channels.distill"),
    ("structured", "dphubert"),
    ("prune_rank", "rank.distill"),
    ("pinch.weight", "weights.distill"),
    ("pinch.neuron", "channels.distill"),
    ("fold", "channels"),
    ("fold.distill", "channels.distill"),
    ("prune_rank.longer", "rank.longer"),
)
"""A method and the baseline that it is expected to beat; not every size exists for all of them."""

Errors = dict[str, npt.NDArray[np.float64]]
"""Relative error, mean over the states, by the row's name: [utterances]."""


def kind_and_size(name: str) -> tuple[str, int]:
    """Split `pinch50.neuron` into `pinch.neuron` and 50; the size of the dense model is 0."""
    found = re.fullmatch(r"([a-z_]+)(\d\d)((?:\.\w+)?)", name)
    return (name, 0) if found is None else (found[1] + found[3], int(found[2]))


def state_errors(
    upstreams: Path, names: list[str], speech: Path, fit: Path, seconds: float
) -> tuple[Errors, Errors]:
    """Return every row's state errors relative to dense: directly, and after a linear map."""
    dense = load(DENSE).eval()
    tested, fitting = heard(speech, seconds, dense), heard(fit, FIT_SECONDS, dense)
    wanted, there = states_of(dense, tested), states_of(dense, fitting)
    plain, after = {}, {}
    for name in tqdm(names, desc="state errors", unit="row"):
        encoder = load(upstreams / name).eval()
        found = states_of(encoder, tested)
        plain[name] = relative_errors(wanted, found).mean(1)
        found = mapped(found, states_of(encoder, fitting), there)
        after[name] = relative_errors(wanted, found).mean(1)
    return plain, after


def merged(board: pd.DataFrame, plain: Errors, after: Errors) -> pd.DataFrame:
    """Return a frame with one line for each row: sizes, scores, their mean, speed, state errors."""
    lines = []
    for name, own in board.groupby("upstream", sort=False):
        kind, size = kind_and_size(str(name))
        first = own.iloc[0]
        line: dict[str, Any] = {"upstream": name, "kind": kind, "fewer_percent": size}
        for key in ("parameters", "nonzero_parameters", "macs_32", "bytes"):
            line[key] = int(first[key])
        scores = own.set_index("corpus")
        for corpus in SETS:
            line[corpus] = scores.loc[corpus, "score"]
            line[f"{corpus}_error"] = scores.loc[corpus, "standard_error"]
            line[f"{corpus}_p_corrected"] = scores.loc[corpus, "p_corrected"]
        line["mean"] = np.mean([line[corpus] for corpus in SETS])
        line["mean_error"] = np.hypot.reduce([line[f"{c}_error"] for c in SETS]) / len(SETS)
        for key in ("speedup", "speedup_low", "speedup_high"):
            line[key] = first[key]
        for key, errors in (("state_error", plain), ("mapped_error", after)):
            values = errors.get(str(name), np.zeros(2))
            line[key] = values.mean()
            line[f"{key}_error"] = values.std(ddof=1) / np.sqrt(len(values))
        for key in ("seeds", "machine", "date", "packages", "methods", "checkpoint_sha256"):
            line[key] = first[key]
        lines.append(line)
    return pd.DataFrame(lines).sort_values(["fewer_percent", "mapped_error"])


def table(frame: pd.DataFrame) -> str:
    """Return the lines of a markdown table."""
    head = [
        "upstream",
        "state error",
        "after a linear map",
        *SETS.values(),
        "mean",
        "non-zeros",
        "MACs",
        "file",
    ]
    lines = [f"| {' | '.join([*head, 'speed-up'])} |", "|---|" + "---:|" * len(head)]
    for row in frame.to_dict("records"):
        scores = [f"{row[key]:.1f} ± {row[f'{key}_error']:.1f}" for key in (*SETS, "mean")]
        for place, corpus in enumerate(SETS):
            if row[f"{corpus}_p_corrected"] < 0.05:
                scores[place] = f"**{scores[place]}**"
        fast = f"{row['speedup']:.2f} x" if row["speedup"] == row["speedup"] else "1"
        errors = ["0", "0"]
        if row["fewer_percent"]:
            keys = ("state_error", "mapped_error")
            errors = [f"{row[key]:.3f} ± {row[f'{key}_error']:.3f}" for key in keys]
        sizes = (
            f"{row['nonzero_parameters'] / 1e6:.2f} M",
            f"{row['macs_32'] / 1e9:.0f} G",
            f"{row['bytes'] / 1e6:.1f} MB",
        )
        cells = (f"`{row['upstream']}`", *errors, *scores, *sizes)
        lines.append(f"| {' | '.join([*cells, fast])} |")
    return "\n".join(lines)


def pairs(errors: Errors, title: str) -> str:
    """Return the difference between each method and its baseline as a markdown table."""
    found = {kind_and_size(name): values for name, values in errors.items()}
    sizes = sorted({size for _, size in found})
    lines = [f"| {title} | {' | '.join(f'{size} % fewer' for size in sizes)} |"]
    lines.append("|---|" + "---:|" * len(sizes))
    for this, other in PAIRS:
        cells = []
        for size in sizes:
            if not {(this, size), (other, size)} <= found.keys():
                cells.append("")
                continue
            difference = found[this, size] - found[other, size]
            error = difference.std(ddof=1) / np.sqrt(len(difference))
            cells.append(f"{difference.mean():+.4f} ± {error:.4f}")
        lines.append(f"| `{this}` less `{other}` | {' | '.join(cells)} |")
    return "\n".join(lines)


def draw(frame: pd.DataFrame, path: Path) -> None:
    """Plot the state errors after a linear map, and the mean score, against the stored size."""
    figure = Figure(figsize=(11.5, 4.8), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    dense = frame[frame["kind"] == DENSE].iloc[0]
    whole = dense["nonzero_parameters"]
    for number, (kind, (label, colour, marker)) in enumerate(METHODS.items()):
        style: dict[str, Any] = {"color": colour, "marker": marker, "ms": 5}
        own = frame[frame["kind"] == kind].sort_values("fewer_percent")
        across = 100 * own["nonzero_parameters"] / whole
        left.plot(across, own["mapped_error"], label=label, **style)
        # Shifted sideways, so that the error bars do not hide each other.
        beside = across + 0.7 * (number - (len(METHODS) - 1) / 2)
        right.errorbar(beside, own["mean"], own["mean_error"], ls="", elinewidth=1, **style)
        untrained = frame[frame["kind"] == kind.removesuffix(".distill")]
        if kind.endswith(".distill"):
            across = 100 * untrained["nonzero_parameters"] / whole
            left.plot(across, untrained["mapped_error"], ls=":", **style)
    left.set_yscale("log")
    left.yaxis.set_major_locator(FixedLocator([0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0]))
    left.yaxis.set_major_formatter("{x:g}")
    left.yaxis.set_minor_locator(NullLocator())
    left.set_ylabel("relative error of all hidden states after a linear map")
    low, high = dense["mean"] - dense["mean_error"], dense["mean"] + dense["mean_error"]
    right.axhspan(low, high, color="#6e7781", alpha=0.15, lw=0)
    right.axhline(dense["mean"], color="#6e7781", lw=1)
    middle = {"xycoords": ("axes fraction", "data"), "ha": "center", "va": "bottom"}
    right.annotate("dense ± 1 SE", (0.3, low), fontsize=8, color="#57606a", **middle)
    right.set_ylabel("mean accuracy on four sets, % ± 1 SE")
    for axis in (left, right):
        axis.set_xlabel("stored non-zero parameters, % of dense")
        axis.invert_xaxis()
        axis.grid(alpha=0.3)
        for side in ("top", "right"):
            axis.spines[side].set_visible(False)
    left.plot([], [], ":", color="#57606a", label="the same without training")
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=5,
                  frameon=False, fontsize=8)  # fmt: skip
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    write_atomically(path, buffer.getvalue())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("out/compare_demo"))
    parser.add_argument("--results", type=Path, default=Path("out/compare_demo"))
    parser.add_argument("--seconds", type=float, default=160.0, help="speech for the states")
    given = parser.parse_args()
    try:
        result = run_suite(SUITE, output=given.output)
    except InputError as error:  # for example, SPEECH_DATA is not set
        parser.error(str(error))
    if result.exit_code:
        raise SystemExit(result.text)
    board = pd.read_csv(given.output / "leaderboard.csv")
    board = board[board["corpus"].isin(SETS)]
    names = [name for name in board["upstream"].unique() if name != DENSE]
    audio = Path(os.environ["SPEECH_DATA"]) / "asr_minilibri" / "audio"
    plain, after = state_errors(
        given.output / "upstreams", names, audio / "test", audio / "train", given.seconds
    )
    frame = merged(board, plain, after)
    given.results.mkdir(parents=True, exist_ok=True)
    write_atomically(given.results / "compare_demo.csv", frame.to_csv(index=False))
    draw(frame, given.results / "compare_demo.png")
    print(table(frame))
    print()
    print(pairs(after, "states' errors after a linear map"))
    print()
    print(pairs(plain, "states' errors as they are"))
    print(f"\nwritten: {given.results / 'compare_demo.csv'} and compare_demo.png")


if __name__ == "__main__":
    main()
