"""Recognition before and after compression: the papers' tables in small, with tests and a plot.

    SPEECH_DATA=DIR python benchmarks/ctc_demo.py --output out/ctc_demo

Runs the suite `recipes/ctc_demo.yaml` (complete cells in the output folder are not run again;
`--only` limits it as that of `run` does) and writes `ctc_demo.csv`, `ctc_demo_pairs.csv` and
`ctc_demo.png` to `--results`. The first has a line per row: character and word error rates with
their standard errors over utterances, errors by kind, and the matched-pairs test against dense on
character errors, corrected for all rows. The second compares rows in pairs, one line for each
training seed.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from s3prl_compress.common.errors import InputError
from s3prl_compress.common.files import write_atomically
from s3prl_compress.results.predictions import Predictions, read_block
from s3prl_compress.results.records import ScoreRecord, read_records
from s3prl_compress.statistics import difference, estimate, find_metric, holm
from s3prl_compress.suite.run import run_suite

UPDATES = 255
"""Updates of CTC fine-tuning of rows whose names give no other number."""
LONGEST = 1530
"""Updates of the longest fine-tuning, three passes."""
SUITE = Path(__file__).parent.parent / "recipes" / "ctc_demo.yaml"
DENSE = "hubert_demo_ctc"
TITLES = {
    "fold": "clustering",
    "channels": "channel magnitude",
    "weights": "weight magnitude",
    "rank": "low rank",
    "rank.audio": "low rank, weighted by activations",
    "rank.uniform": "low rank, equal ranks",
    "rank.uniform.audio": "low rank, equal ranks, weighted",
    "layers": "whole layers",
    "pinch.neuron": "self-pinching, neurons",
    "pinch.weight": "self-pinching, weights",
    "structured": "structured, then CTC",
    "prune_rank": "pruning + low rank, then CTC",
    "channels.distill": "channel magnitude, distilled, then CTC",
}
MARKERS = "osD^vPX*ph<>8"
"""One for each of `TITLES`."""
UNTRAINED = (
    "fold",
    "channels",
    "weights",
    "rank",
    "rank.audio",
    "rank.uniform",
    "rank.uniform.audio",
    "layers",
)
TUNED_LONGER = ("fold{}", "channels{}", "weights{}", "rank{}", "rank{}.audio", "layers{}")
PAIRS = (
    ("fold{}", "channels{}"),
    ("rank{}.audio", "rank{}"),
    ("rank{}.uniform.audio", "rank{}.uniform"),
    ("rank{}.uniform.audio", "rank{}"),
    ("fold{}.ctc", "channels{}.ctc"),
    ("fold{}.ctc.80", "channels{}.ctc.80"),
    ("fold{}.ctc.1530", "channels{}.ctc.1530"),
    ("pinch{}.neuron", "channels{}.ctc"),
    ("pinch{}.weight", "weights{}.ctc"),
    ("structured{}.ctc", "channels{}.distill.ctc"),
    ("prune_rank{}.ctc", "channels{}.distill.ctc"),
    ("rank{}.audio.ctc.1530", "rank{}.ctc.1530"),
    *((f"{method}.ctc.1530", f"{DENSE}.ctc.1530") for method in TUNED_LONGER),
)
"""A row and the one with which it is compared, at each size at which both are there: the one that
it is expected to beat, or after three passes the dense model that was fine-tuned as long."""


@dataclass(frozen=True)
class Name:
    """The parts of a row's name: `rank50.audio.ctc.1` is the second training of `rank.audio`."""

    method: str
    size: int
    tuned: bool
    """Whether it was fine-tuned after compression."""
    updates: int | None
    """Number of updates, if it was fine-tuned for more or fewer than `UPDATES`."""
    seed: int

    @classmethod
    def of(cls, name: str) -> Name:
        """Take a row's name apart."""
        if name.startswith(DENSE):
            parts, size = name.removeprefix(DENSE).split("."), 0
        else:
            found = re.search(r"\d+", name)
            assert found is not None, name
            parts, size = name.replace(found[0], "", 1).split("."), int(found[0])
        numbers = [int(part) for part in parts if part.isdigit()]
        seeds = [number for number in numbers if number < 10]
        method = ".".join(part for part in parts if part and part != "ctc" and not part.isdigit())
        updates = next((number for number in numbers if number >= 10), None)
        return cls(method or "dense", size, "ctc" in parts, updates, seeds[0] if seeds else 0)


def with_second_seed(name: str) -> str:
    """Return the name of the same row in the second training."""
    if not name.endswith(".ctc"):
        return f"{name}.1"
    base = name.removesuffix(".ctc")
    distilled = base.startswith(("structured", "prune_rank")) or base.endswith(".distill")
    return f"{base}.1.ctc" if distilled else f"{name}.1"


def read_rows(folder: Path) -> tuple[dict[str, ScoreRecord], dict[str, Predictions]]:
    """Return the records of a suite's rows and their predictions in characters, by name."""
    records: dict[str, ScoreRecord] = {}
    for path, record in read_records(folder):
        if isinstance(record, ScoreRecord):
            placed = record.model_copy(
                update={"predictions": str(path.parent / record.predictions)}
            )
            records[record.upstream.name] = placed
    if DENSE not in records:
        raise InputError(f"{folder}: has no row {DENSE}, with which all others are compared")
    read = read_block([[record] for record in records.values()])
    characters = {
        name: one.under(find_metric("CER"))
        for name, one in zip(records, read, strict=True)
        if one is not None
    }
    return records, characters


def table(records: Mapping[str, ScoreRecord], rows: Mapping[str, Predictions]) -> pd.DataFrame:
    """Return a frame of one line per row, in the order of size and character error rate."""
    lines, tests = [], []
    for name, own in rows.items():
        record, parts = records[name], Name.of(name)
        line: dict[str, Any] = {"upstream": name, **vars(parts)}
        line |= record.upstream.cost.model_dump() if record.upstream.cost else {}
        (texts,) = own.predicted.values()
        rate = estimate(own.outcomes, own.units)
        line |= {"cer": rate.value, "cer_error": rate.standard_error}
        line |= {"wer": record.score, "wer_error": record.standard_error}
        loss = difference(own.outcomes, rows[DENSE].outcomes, own.units, same_seeds=True)
        line |= {"difference": loss.value}
        line |= dict(zip(("difference_low", "difference_high"), loss.interval(0.95), strict=True))
        for unit, counts in record.edits.items():
            for kind in ("insertions", "deletions", "substitutions"):
                line[f"{unit}_{kind}"] = getattr(counts, kind)
        (dense_texts,) = rows[DENSE].predicted.values()
        if name != DENSE:
            test = own.metric.test_untrained(loss, own.units, own.truth, texts, dense_texts)
            tests.append((len(lines), test.p_value))
        line |= {"p": None, "p_corrected": None, "machine": record.environment.machine}
        line |= {"date": record.environment.date, "checkpoint": record.upstream.checkpoint_sha256}
        lines.append(line)
    for (place, p_value), corrected in zip(tests, holm([p for _, p in tests]), strict=True):
        lines[place] |= {"p": p_value, "p_corrected": corrected}
    return pd.DataFrame(lines).sort_values(["tuned", "size", "cer"], ignore_index=True)


def pairs(rows: Mapping[str, Predictions]) -> pd.DataFrame:
    """Return a frame of one line per pair of rows, size and training seed."""
    lines = []
    sizes = sorted({Name.of(name).size for name in rows})
    for this, other in PAIRS:
        for size in sizes:
            first = (this.format(size), other.format(size))
            for seed, (one, two) in enumerate((first, tuple(map(with_second_seed, first)))):
                if one not in rows or two not in rows:
                    continue
                own, base = rows[one], rows[two]
                (texts,), (others,) = own.predicted.values(), base.predicted.values()
                gap = difference(own.outcomes, base.outcomes, own.units, same_seeds=True)
                test = own.metric.test_untrained(gap, own.units, own.truth, texts, others)
                low, high = gap.interval(0.95)
                lines.append(
                    {
                        "row": one,
                        "against": two,
                        "size": size,
                        "seed": seed,
                        "difference": gap.value,
                        "low": low,
                        "high": high,
                        "p": test.p_value,
                    }
                )
    frame = pd.DataFrame(lines)
    frame["p_corrected"] = holm(list(frame["p"]))
    return frame


def draw(frame: pd.DataFrame, path: Path) -> None:
    """Plot the character error rate by size, before and after training, and by updates."""
    figure = Figure(figsize=(14.0, 9.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, 2).flatten()
    dense = float(frame.loc[frame["upstream"] == DENSE, "cer"].iloc[0])
    plain = ~frame["tuned"] & frame["method"].isin(UNTRAINED)
    recognised = frame["tuned"] | frame["method"].str.startswith("pinch")
    shown = (
        plain,
        recognised & frame["updates"].isna(),
        recognised & (frame["updates"] == LONGEST),
    )
    for axis, rows in zip(axes[:3], shown, strict=True):
        here = frame[rows]
        for number, (method, title) in enumerate(TITLES.items()):
            own = here[here["method"] == method]
            if own.empty:
                continue
            look: dict[str, Any] = {"color": f"C{number % 10}", "marker": MARKERS[number]}
            means = own.groupby("size")["cer"].mean()
            style = "-" if number < 10 else "--"  # there are ten colours
            axis.plot(means.index, means, ls=style, lw=1.4, ms=5, label=title, **look)
            axis.scatter(own["size"], own["cer"], s=12, alpha=0.5, **look)
        axis.set_xlabel("parameters removed, percent")
    counts = [0, 80, UPDATES, LONGEST]
    for number, (method, title) in enumerate(TITLES.items()):
        own = frame[(frame["method"] == method) & (frame["size"] == 50)]
        own = own.assign(count=own["updates"].fillna(UPDATES).where(own["tuned"], 0))
        if method not in UNTRAINED or own["count"].nunique() < 3:
            continue
        look = {"color": f"C{number % 10}", "marker": MARKERS[number]}
        means = own.groupby("count")["cer"].mean()
        places = [counts.index(int(count)) for count in means.index]
        axes[3].plot(places, means, ls="-", lw=1.4, ms=5, label=f"{title}, 50 %", **look)
        places = [counts.index(int(count)) for count in own["count"]]
        axes[3].scatter(places, own["cer"], s=12, alpha=0.5, **look)
    axes[3].set_xticks(range(len(counts)), [str(count) for count in counts])
    axes[3].set_xlabel("updates of fine-tuning")
    for axis, rows in zip(axes[1:3], shown[1:], strict=True):
        level = frame.loc[rows & (frame["method"] == "dense"), "cer"].mean()
        axis.axhline(level, color="#6e7781", lw=1, ls=":", label="dense, fine-tuned as long")
    for axis in axes:
        axis.axhline(dense, color="#6e7781", lw=1, ls="--", label="dense, as it is")
        axis.grid(alpha=0.3)
        for side in ("top", "right"):
            axis.spines[side].set_visible(False)
        axis.legend(frameon=False, fontsize=8)
    axes[0].set_title("without training", fontsize=10)
    axes[1].set_title(
        f"after {UPDATES} updates of CTC; small marks: each training seed", fontsize=10
    )
    axes[2].set_title(f"after {LONGEST:,} updates of CTC", fontsize=10)
    axes[3].set_title("how the gap closes", fontsize=10)
    for axis in axes[::2]:
        axis.set_ylabel("character error rate, percent")
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    write_atomically(path, buffer.getvalue())


def markdown(frame: pd.DataFrame, columns: Sequence[str], texts: Mapping[str, str]) -> str:
    """Return columns of a frame as a markdown table, with a format for each."""
    lines = [f"| {' | '.join(columns)} |", "|---|" + "---:|" * (len(columns) - 1)]
    for row in frame.to_dict("records"):
        cells = ["" if pd.isna(row[key]) else texts[key].format(row[key]) for key in columns]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("out/ctc_demo"))
    parser.add_argument("--results", type=Path, default=Path("out/ctc_demo"))
    parser.add_argument("--only", help="patterns of cells to run, as of `s3prl-compress run`")
    given = parser.parse_args()
    try:
        result = run_suite(SUITE, output=given.output, only=given.only)
        if result.exit_code:
            raise SystemExit(result.text)
        records, rows = read_rows(given.output / "records")
    except InputError as error:  # for example, SPEECH_DATA is not set
        parser.error(str(error))
    frame, compared = table(records, rows), pairs(rows)
    given.results.mkdir(parents=True, exist_ok=True)
    write_atomically(given.results / "ctc_demo.csv", frame.to_csv(index=False))
    write_atomically(given.results / "ctc_demo_pairs.csv", compared.to_csv(index=False))
    draw(frame, given.results / "ctc_demo.png")
    figures = {"cer": "{:.1f}", "wer": "{:.1f}", "difference": "{:+.1f}", "p_corrected": "{:.2g}"}
    texts = {"upstream": "`{}`", "row": "`{}`", "against": "`{}`", **figures}
    texts |= {f"difference_{end}": "{:+.1f}" for end in ("low", "high")}
    texts |= {"low": "{:+.1f}", "high": "{:+.1f}"}
    columns = ["upstream", "cer", "wer", "difference", "difference_low", "difference_high"]
    print(markdown(frame, [*columns, "p_corrected"], texts), end="\n\n")
    print(markdown(compared, ["row", "against", "difference", "low", "high", "p_corrected"], texts))
    print(f"\nwritten: {given.results / 'ctc_demo.csv'}, ctc_demo_pairs.csv and the plot")


if __name__ == "__main__":
    main()
