"""Every method at half the size with equal training: the table and the plot of the comparison.

    SPEECH_DATA=DIR python benchmarks/compare_demo.py --output out/compare_demo

Runs the suite `recipes/compare_demo.yaml` (complete cells in the output folder are not run again),
measures the error of each row's hidden states relative to dense (see `state_error.py`; on speech
that no row was trained on), both directly and after a linear map of each state, and writes
`compare_demo.csv` (every figure, with date and machine) and `compare_demo.png` to `--results`.
Prints the table, and the differences between the state errors of each method and its baseline,
paired over utterances.
"""

from __future__ import annotations

import argparse
import os
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from state_error import FIT_SECONDS, heard, mapped, relative_errors, states_of
from tqdm import tqdm

from s3prl_compress.common.errors import InputError
from s3prl_compress.common.files import write_atomically
from s3prl_compress.encoder import load
from s3prl_compress.suite.run import run_suite

SUITE = Path(__file__).parent.parent / "recipes" / "compare_demo.yaml"
DENSE = "hubert_demo"
SETS = {
    "sid_arabic_sc_large": "SID, Arabic SC",
    "er_emodb": "ER, EmoDB",
}
PAIRS = (
    ("structured50", "channels50.distill"),
    ("structured50", "dphubert50"),
    ("prune_rank50", "rank50.distill"),
    ("pinch50.weight", "weights50.distill"),
    ("pinch50.neuron", "channels50.distill"),
    ("fold50", "channels50"),
    ("fold50.distill", "channels50.distill"),
)
"""Each a row and the baseline that it is expected to beat."""

Errors = dict[str, npt.NDArray[np.float64]]
"""For every row, [utterances]: the mean of the states' relative errors."""


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
    """Return a frame of one line per row: sizes, scores, differences, speed, state errors."""
    lines = []
    for name, own in board.groupby("upstream", sort=False):
        first = own.iloc[0]
        line: dict[str, Any] = {"upstream": name}
        for key in ("parameters", "nonzero_parameters", "macs_32", "bytes"):
            line[key] = int(first[key])
        scores = own.set_index("corpus")
        for corpus in SETS:
            for key in SCORE_FIGURES:
                line[f"{corpus}_{key}"] = scores.loc[corpus, key]
        for key in ("speedup", "speedup_low", "speedup_high"):
            line[key] = first[key]
        for key, errors in (("state_error", plain), ("mapped_error", after)):
            values = errors.get(str(name), np.zeros(2))
            line[key] = values.mean()
            line[f"{key}_error"] = values.std(ddof=1) / np.sqrt(len(values))
        for key in ("seeds", "machine", "date", "packages", "methods", "checkpoint_sha256"):
            line[key] = first[key]
        lines.append(line)
    return pd.DataFrame(lines).sort_values("mapped_error")


SCORE_FIGURES = (
    *("score", "standard_error", "difference", "difference_low", "difference_high"),
    *("p_corrected", "significant", "detectable"),
)
"""Columns of the leaderboard that are kept for each set."""


def table(frame: pd.DataFrame) -> str:
    """Return the lines of a markdown table."""
    head = ["upstream", "state error", "after a linear map", *SETS.values()]
    head += ["stored", "MACs", "file", "speed-up"]
    lines = [f"| {' | '.join(head)} |", "|---|" + "---:|" * (len(head) - 1)]
    for row in frame.to_dict("records"):
        dense = row["upstream"] == DENSE
        errors = [f"{row[key]:.3f}" for key in ("state_error", "mapped_error")]
        sizes = (
            f"{row['nonzero_parameters'] / 1e6:.2f} M",
            f"{row['macs_32'] / 1e9:.0f} G",
            f"{row['bytes'] / 1e6:.1f} MB",
            "1" if dense else f"{row['speedup']:.2f} x",
        )
        scores = [score_text(row, corpus) for corpus in SETS]
        cells = (f"`{row['upstream']}`", *(["0", "0"] if dense else errors), *scores, *sizes)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def score_text(row: dict[str, Any], corpus: str) -> str:
    """Return dense's score and error, or a row's difference from it and the 95 % interval."""
    if row["upstream"] == DENSE:
        return f"{row[f'{corpus}_score']:.1f} ± {row[f'{corpus}_standard_error']:.1f}"
    low, high = row[f"{corpus}_difference_low"], row[f"{corpus}_difference_high"]
    text = f"{row[f'{corpus}_difference']:+.1f}, {low:+.1f} to {high:+.1f}".replace(
        "-", "\N{MINUS SIGN}"
    )
    return f"**{text}**" if str(row[f"{corpus}_significant"]) == "True" else text


def pairs(errors: Errors, title: str) -> str:
    """Return the difference between each row and its baseline as a markdown table."""
    lines = [f"| {title} | difference |", "|---|---:|"]
    for this, other in PAIRS:
        difference = errors[this] - errors[other]
        error = difference.std(ddof=1) / np.sqrt(len(difference))
        lines.append(f"| `{this}` less `{other}` | {difference.mean():+.3f} ± {error:.3f} |")
    return "\n".join(lines)


def draw(frame: pd.DataFrame, path: Path) -> None:
    """Plot each row's state error after a linear map, and its differences from dense."""
    rows = frame[frame["upstream"] != DENSE].iloc[::-1].reset_index(drop=True)
    figure = Figure(figsize=(11.5, 5.0), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, 1 + len(SETS), sharey=True)
    trained = ~rows["upstream"].isin(["channels50", "fold50", "rank50", "weights50"])
    colours = np.where(trained, "#1f6feb", "#bf8700")
    places = np.arange(len(rows))
    axes[0].barh(places, rows["mapped_error"], color=colours, height=0.6)
    axes[0].set_yticks(places, rows["upstream"])
    axes[0].set_xlabel("state error after a linear map")
    for axis, (corpus, title) in zip(axes[1:], SETS.items(), strict=True):
        middle = rows[f"{corpus}_difference"]
        for place, colour in zip(places, colours, strict=True):
            ends = [rows.loc[place, f"{corpus}_difference_{end}"] for end in ("low", "high")]
            axis.plot(ends, [place, place], color=colour, lw=1.5)
        axis.scatter(middle, places, color=colours, s=24, zorder=3)
        axis.axvline(0, color="#6e7781", lw=1)
        axis.set_xlabel(f"{title}: points from dense, 95 %")
    for axis in axes:
        axis.grid(axis="x", alpha=0.3)
        axis.tick_params(axis="y", length=0)
        for side in ("top", "right", "left"):
            axis.spines[side].set_visible(False)
    axes[0].scatter([], [], color="#1f6feb", label="trained, 600 updates")
    axes[0].scatter([], [], color="#bf8700", label="without training")
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=9)
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
    print(pairs(after, "state errors after a linear map"))
    print()
    print(pairs(plain, "state errors as they are"))
    print(f"\nwritten: {given.results / 'compare_demo.csv'} and compare_demo.png")


if __name__ == "__main__":
    main()
