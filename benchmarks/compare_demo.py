"""Every method at 50 and 70 % with equal training: tables and plots of the comparison.

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
import re
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from state_error import FIT_SECONDS, heard, mapped, relative_errors, states_of
from tqdm import tqdm

from s3prl_compress.common.errors import InputError
from s3prl_compress.common.files import write_atomically
from s3prl_compress.encoder import load
from s3prl_compress.encoder.loading import load_unless_loaded
from s3prl_compress.suite.run import run_suite
from s3prl_compress.suite.suite_file import read_suite
from s3prl_compress.suite.upstreams import upstream_source

SUITE = Path(__file__).parent.parent / "recipes" / "compare_demo.yaml"
DENSE = "hubert_demo"
SETS = {
    "sid_arabic_sc_large": "SID, Arabic SC",
    "er_emodb": "ER, EmoDB",
}
SIZES = (50, 70)
"""Percentage of the parameters that a row has lost."""
MARKERS = ("o", "s")
SHADES = (0.55, 1.0)
"""Marker and opacity of each size."""
MANY_MARKERS = "osD^vPX*p"
"""A marker for each method."""
TRAINED_COLOUR, UNTRAINED_COLOUR = "#1f6feb", "#bf8700"
UNTRAINED = ("channels", "fold", "rank", "weights")
"""Methods without training; `NAME.distill` is the same with distillation after it."""
TITLES = {
    "channels": "channel magnitude",
    "fold": "clustering",
    "rank": "low rank",
    "weights": "weight magnitude",
    "structured": "structured (L0 gates)",
    "dphubert": "DPHuBERT",
    "prune_rank": "pruning + low rank",
    "pinch.neuron": "self-pinching, neurons",
    "pinch.weight": "self-pinching, weights",
}
DEPLOYED = {
    "onnx_int8": "ONNX Runtime, int8",
    "openvino_bfloat16": "OpenVINO, bfloat16",
}
"""Runtimes of exported rows: `fold50.onnx_int8` is `fold50` on ONNX Runtime."""
PAIRS = (
    ("structured{}", "channels{}.distill"),
    ("structured{}", "dphubert{}"),
    ("prune_rank{}", "rank{}.distill"),
    ("pinch{}.weight", "weights{}.distill"),
    ("pinch{}.neuron", "channels{}.distill"),
    ("fold{}", "channels{}"),
    ("fold{}.distill", "channels{}.distill"),
)
"""For each size, a row and the baseline that it is expected to beat."""

Errors = dict[str, npt.NDArray[np.float64]]
"""For every row, [utterances]: the mean of the states' relative errors."""


def state_errors(
    sources: dict[str, str], speech: Path, fit: Path, seconds: float
) -> tuple[Errors, Errors]:
    """Return every row's state errors relative to dense: directly, and after a linear map."""
    dense = load(DENSE).eval()
    tested, fitting = heard(speech, seconds, dense), heard(fit, FIT_SECONDS, dense)
    wanted, there = states_of(dense, tested), states_of(dense, fitting)
    plain, after = {}, {}
    for name, source in tqdm(sources.items(), desc="state errors", unit="row"):
        encoder = load_unless_loaded(source).eval()
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
        method, size, runtime = method_size_and_runtime(str(name))
        line: dict[str, Any] = {"upstream": name, "method": method, "size": size}
        line["runtime"] = runtime
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
    return pd.DataFrame(lines).sort_values(["size", "mapped_error"])


def method_size_and_runtime(name: str) -> tuple[str, int, str]:
    """Split "fold50.distill.onnx_int8" into "fold.distill", 50 and "onnx_int8".

    The size of dense is 0, and the runtime of rows that are not exported is "torch".
    """
    row, _, runtime = name.rpartition(".")
    if runtime not in DEPLOYED:
        row, runtime = name, "torch"
    size = re.search(r"\d+", row)
    return (
        (row, 0, runtime) if size is None else (row.replace(size[0], "", 1), int(size[0]), runtime)
    )


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
    lines = [f"| {title} | " + " | ".join(f"{size} %" for size in SIZES) + " |"]
    lines.append("|---|" + "---:|" * len(SIZES))
    for this, other in PAIRS:
        cells = [f"`{this.format('')}` less `{other.format('')}`"]
        for size in SIZES:
            difference = errors[this.format(size)] - errors[other.format(size)]
            error = difference.std(ddof=1) / np.sqrt(len(difference))
            cells.append(f"{difference.mean():+.3f} ± {error:.3f}")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def draw(frame: pd.DataFrame, path: Path) -> None:
    """Plot the state errors of rows in PyTorch, after a linear map, and differences from dense."""
    frame = frame[frame["runtime"] == "torch"]
    order = frame[frame["size"] == max(SIZES)].sort_values("mapped_error", ascending=False)
    methods = list(order["method"])
    figure = Figure(figsize=(11.5, 6.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, 1 + len(SETS), sharey=True)
    for row in frame[frame["size"] > 0].to_dict("records"):
        number = SIZES.index(row["size"])
        place = methods.index(row["method"]) + 0.3 * (0.5 - number)
        look: dict[str, Any] = {"color": colour(row["method"]), "alpha": SHADES[number]}
        axes[0].scatter(row["mapped_error"], place, marker=MARKERS[number], s=30, **look)
        for axis, corpus in zip(axes[1:], SETS, strict=True):
            ends = [row[f"{corpus}_difference_{end}"] for end in ("low", "high")]
            axis.plot(ends, [place, place], lw=1.3, **look)
            middle = row[f"{corpus}_difference"]
            axis.scatter(middle, place, marker=MARKERS[number], s=18, zorder=3, **look)
    axes[0].set_yticks(range(len(methods)), [shown(method) for method in methods])
    axes[0].set_xlabel("state error after a linear map")
    axes[0].set_xlim(left=0)
    for axis, title in zip(axes[1:], SETS.values(), strict=True):
        axis.axvline(0, color="#6e7781", lw=1)
        axis.set_xlabel(f"{title}: points from dense, 95 %")
    for axis in axes:
        tidy(axis, "x")
        axis.tick_params(axis="y", length=0)
        axis.spines["left"].set_visible(False)
    for marker, shade, size in zip(MARKERS, SHADES, SIZES, strict=True):
        axes[0].scatter([], [], marker=marker, color="#57606a", alpha=shade, label=f"{size} %")
    axes[0].scatter([], [], marker="s", color=TRAINED_COLOUR, label="trained, 600 updates")
    axes[0].scatter([], [], marker="s", color=UNTRAINED_COLOUR, label="without training")
    figure.legend(loc="outside lower center", ncols=5, frameon=False, fontsize=9)
    save_figure(figure, path)


def draw_costs(frame: pd.DataFrame, path: Path) -> None:
    """Plot the state error after a linear map against the speed-up and against the file size.

    Deployed rows are those of one method, from dense to the smallest.
    """
    figure = Figure(figsize=(11.5, 4.8), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, 2, sharey=True)
    frame = frame.fillna({"speedup": 1.0}).sort_values("size")  # dense over itself: 1
    ordered = frame[frame["runtime"] == "torch"]
    for number, method in enumerate(TITLES):
        for name, style in (
            (method, "--" if method in UNTRAINED else "-"),
            (f"{method}.distill", "-"),
        ):
            rows = ordered[ordered["method"].isin((DENSE, name))]
            if len(rows) == 1:
                continue
            look: dict[str, Any] = {"color": f"C{number}", "marker": MANY_MARKERS[number]}
            look |= {"ls": style, "lw": 1.4, "ms": 5}
            axes[0].plot(rows["speedup"], rows["mapped_error"], label=shown(name), **look)
            axes[1].plot(rows["bytes"] / 1e6, rows["mapped_error"], **look)
    for marker, (runtime, title) in zip("*h", DEPLOYED.items(), strict=True):
        rows = frame[frame["runtime"] == runtime]
        method = shown(str(rows["method"].iloc[-1]))
        look = {"color": "black", "marker": marker, "ls": ":", "lw": 1.4, "ms": 8}
        axes[0].plot(rows["speedup"], rows["mapped_error"], label=f"{method},\n{title}", **look)
        axes[1].plot(rows["bytes"] / 1e6, rows["mapped_error"], **look)
    axes[0].set_xlabel("measured speed-up over dense")
    axes[1].set_xlabel("file, MB")
    axes[1].invert_xaxis()
    axes[0].set_ylabel("state error after a linear map")
    axes[0].set_ylim(bottom=0)
    for axis in axes:
        tidy(axis, "both")
    marks = "Marks: 0, 50, 70 % removed\nDashed: without training\nDotted: as deployed"
    figure.legend(loc="outside right center", frameon=False, fontsize=9, title=marks)
    save_figure(figure, path)


def shown(method: str) -> str:
    """Return a method's name in plots."""
    title = TITLES[method.removesuffix(".distill")]
    return f"{title}, then distilled" if method.endswith(".distill") else title


def colour(method: str) -> str:
    """Return the colour of a method's marks."""
    return UNTRAINED_COLOUR if method in UNTRAINED else TRAINED_COLOUR


def tidy(axis: Axes, grid: Literal["x", "both"]) -> None:
    """Draw a light grid, and no frame at the top and on the right."""
    axis.grid(axis=grid, alpha=0.3)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, completely or not at all."""
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
    scored = {name for name in board["upstream"] if name != DENSE}
    sources = {
        entry.name: upstream_source(entry, given.output / "upstreams")
        for entry in read_suite(SUITE).upstreams
        if entry.name in scored
    }
    audio = Path(os.environ["SPEECH_DATA"]) / "asr_minilibri" / "audio"
    plain, after = state_errors(sources, audio / "test", audio / "train", given.seconds)
    frame = merged(board, plain, after)
    given.results.mkdir(parents=True, exist_ok=True)
    write_atomically(given.results / "compare_demo.csv", frame.to_csv(index=False))
    draw(frame, given.results / "compare_demo.png")
    draw_costs(frame, given.results / "compare_demo_cost.png")
    for size in SIZES:
        print(f"{size} % of the parameters removed\n")
        print(table(frame[frame["size"].isin((0, size))]), end="\n\n")
    print(pairs(after, "state errors after a linear map"))
    print()
    print(pairs(plain, "state errors as they are"))
    print(f"\nwritten: {given.results / 'compare_demo.csv'} and the plots")


if __name__ == "__main__":
    main()
