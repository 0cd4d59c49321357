"""Made-up records: what a report is tested on."""

from __future__ import annotations

import csv
import hashlib
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from s3prl_compress.report.rows import Entry
from s3prl_compress.results.records import (
    BucketTiming,
    CorpusRecord,
    Cost,
    Environment,
    FoldResult,
    RateResult,
    ScoreRecord,
    TimeRecord,
    Upstream,
    write_record,
)

WHERE = Environment(
    machine="A processor, 2 cores",
    device="cpu",
    threads=2,
    python="3.11.2",
    packages={"torch": "2.13.0", "s3prl": "0.4.18", "s3prl_compress": "0.1.0"},
    git_commit="0123456789abcdef0123456789abcdef01234567",
    git_dirty=False,
    date="2026-02-03T04:05:06+00:00",
    command="s3prl-compress score MODEL --task ks",
)


def upstream(name: str, share: float = 1.0, methods: tuple[str, ...] = (), **more: Any) -> Upstream:
    """An encoder with `share` of the dense one's 94 M parameters."""
    cost = Cost(
        parameters=int(94_371_712 * share),
        nonzero_parameters=int(94_371_712 * share * 0.99),
        macs_32=int(1665.5e9 * (0.3 + 0.7 * share)),
        bytes=int(94_371_712 * 4 * share),
    )
    values: dict[str, Any] = {
        "name": name,
        "checkpoint_sha256": hashlib.sha256(f"{name}{share}".encode()).hexdigest(),
        "source": f"out/{name}",
        "base": "a base model",
        "random_weights": False,
        "methods": methods,
        "cost": cost,
    }
    return Upstream(**{**values, **more})


def score(who: Upstream, percent: float, **more: Any) -> ScoreRecord:
    """A keyword spotting score."""
    values: dict[str, Any] = {
        "upstream": who,
        "task": "ks",
        "task_version": 1,
        "variant": "official",
        "engine": "onepass",
        "padding": "independent",
        "seed": 0,
        "recipe": "official",
        "settings": {"total_steps": 200_000},
        "metric": "accuracy",
        "higher_is_better": True,
        "score": percent,
        "standard_error": 0.8,
        "test_size": 3081,
        "chance": 8.4,
        "learning_rate": 1e-3,
        "rates": (
            RateResult(learning_rate=1e-2, dev_score=percent - 1, best_step=5000),
            RateResult(learning_rate=1e-3, dev_score=percent + 1, best_step=5000),
        ),
        "dev_score": percent + 1,
        "corpus": CorpusRecord(name="speech_commands", fingerprint="ab" * 32, sizes={"test": 3081}),
        "approximate": False,
        "predictions": "x.csv",
        "environment": WHERE,
    }
    return ScoreRecord(**{**values, **more})


def timing(who: Upstream, other: Upstream | None, speedup: float = 2.0, **more: Any) -> TimeRecord:
    """A measured speed, `speedup` times that of the other, whose RTFx is 20."""
    buckets = []
    for name, audio in (("short", 23.0), ("medium", 38.0), ("long", 59.0), ("longer", 110.0)):
        buckets.append(_bucket(name, audio, speedup, other is not None))
    buckets.append(_bucket("all", 230.0, speedup, other is not None))
    sides = ("this", "against") if other is not None else ("this",)
    values: dict[str, Any] = {
        "upstream": who,
        "against": other,
        "dtype": "float32",
        "buckets": tuple(buckets),
        "raw_seconds": {f"{bucket.name}/{side}": [1.0] for bucket in buckets for side in sides},
        "peak_memory_bytes": int(300e6 / speedup),
        "against_peak_memory_bytes": 300_000_000 if other is not None else None,
        "environment": WHERE.model_copy(update={"command": "s3prl-compress time A --against B"}),
        "settings": {"lengths": [20560] * 32, "batch_size": 1, "repeats": 10},
    }
    return TimeRecord(**{**values, **more})


def write_all(folder: Path, records: list[ScoreRecord | TimeRecord]) -> None:
    """Write records as `score` and `time` would."""
    for number, record in enumerate(records):
        write_record(record, folder, f"record-{number:03}")


def a_board() -> list[ScoreRecord | TimeRecord]:
    """A dense upstream and six smaller ones, on both engines, timed."""
    generator = random.Random(0)
    dense = upstream("hubert_base")
    steps = {
        "fold10": ("clustering(mode=fold, sparsity=0.1, allocation=uniform)", 0.905, 1.09),
        "share25": ("clustering(mode=share, sparsity=0.25, allocation=mixed)", 0.76, 1.22),
        "low_rank50": ("low_rank(keep=0.5, rank=energy)", 0.52, 1.61),
        "low_rank25": ("low_rank(keep=0.25, rank=energy)", 0.31, 2.05),
        "channels40": ("magnitude(mode=channels, sparsity=0.4)", 0.6, 1.71),
        "channels40.fold10": (
            "magnitude(mode=channels, sparsity=0.4) + clustering(mode=fold, sparsity=0.1)",
            0.55,
            1.78,
        ),
    }
    records: list[ScoreRecord | TimeRecord] = []
    for engine, padding in (("onepass", "independent"), ("s3prl", "fairseq")):
        for seed in (0, 1):
            same = {"engine": engine, "padding": padding, "seed": seed}
            records.append(score(dense, 96.3 + generator.gauss(0, 0.2), **same))
            for name, (method, share, _) in steps.items():
                if engine == "s3prl" and name != "fold10":
                    continue
                who = upstream(name, share, tuple(method.split(" + ")))
                lost = 9 * (1 - share) ** 2
                records.append(score(who, 96.3 - lost + generator.gauss(0, 0.3), **same))
    for name, (method, share, speedup) in steps.items():
        who = upstream(name, share, tuple(method.split(" + ")))
        records.append(timing(who, dense, speedup))
    return records


def write_predictions(
    folder: Path,
    name: str,
    truth: Sequence[str],
    predicted: Sequence[str],
    speakers: Sequence[str] = (),
) -> str:
    """Write predictions as `score` would, and return the file's name; see `old_predictions`."""
    if not speakers:
        return old_predictions(folder, name, truth, predicted)
    with open(folder / name, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("file", "truth", "predicted", "speaker"))
        names = map(str, range(len(truth)))
        writer.writerows(zip(names, truth, predicted, speakers, strict=True))
    return name


def old_predictions(folder: Path, name: str, truth: Sequence[str], predicted: Sequence[str]) -> str:
    """Write predictions as `score` did before it kept speakers, and return the file's name."""
    with open(folder / name, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("file", "truth", "predicted"))
        writer.writerows(zip(map(str, range(len(truth))), truth, predicted, strict=True))
    return name


SPEAKERS = [f"speaker {number % 10}" for number in range(100)]
"""Of the utterances of `a_suite`."""
SHARES = {"dense": 0.02, "fold": 0.03, "rank": 0.3, "channels": 0.6}
"""Share of wrong answers (words) of the upstreams of `a_suite`."""
TASKS = {"ks": "official", "sid": "voxceleb1", "er": "iemocap", "asr": "librispeech"}


def a_suite(folder: Path, recipe: str = "official", generated: bool = False) -> None:
    """Write four upstreams on four tasks with five seeds, with predictions, and their times."""
    generator = random.Random(1)
    methods = {"dense": (), "fold": ("clustering(form=fold)",), "rank": ("low_rank(keep=0.5)",)}
    shares = {"dense": 1.0, "fold": 0.9, "rank": 0.5, "channels": 0.3}
    who = {
        name: upstream(name, share, methods.get(name, ("magnitude(sparsity=0.7)",)))
        for name, share in shares.items()
    }
    words = {"asr": "one two three four five six"}
    records: list[ScoreRecord | TimeRecord] = []
    for task, variant in TASKS.items():
        truth = [words.get(task, f"class {number % 4}") for number in range(100)]
        for name, share in SHARES.items():
            for seed in range(5):
                predicted = [_wrong(text, share, task == "asr", generator) for text in truth]
                stem = f"{name}.{task}.{recipe}.seed{seed}"
                write_predictions(folder, f"{stem}.csv", truth, predicted, SPEAKERS)
                corpus = CorpusRecord(
                    name=task, fingerprint="ab" * 32, sizes={}, generated=generated
                )
                same = {"task": task, "variant": variant, "seed": seed, "recipe": recipe}
                values = {"corpus": corpus, "test_size": 100, "predictions": f"{stem}.csv"}
                record = score(who[name], 100 - 100 * share, **same, **values)
                records.append(record.model_copy(update=_own(task, share)))
    records += [timing(who[name], who["dense"], 2.0) for name in SHARES if name != "dense"]
    for number, record in enumerate(records):
        stem = "" if isinstance(record, TimeRecord) else record.predictions.removesuffix(".csv")
        write_record(record, folder, stem or f"time-{number}")


def _wrong(text: str, share: float, in_words: bool, generator: random.Random) -> str:
    parts = text.split() if in_words else [text]
    return " ".join("wrong" if generator.random() < share else part for part in parts)


def _own(task: str, share: float) -> dict[str, Any]:
    """What a task's records have that others' have not."""
    if task == "asr":
        return {
            "metric": "WER (percent)",
            "higher_is_better": False,
            "score": 100 * share,
            "interval": (90 * share, 110 * share),
            "other_metrics": {"cer": 30 * share},
        }
    if task == "er":
        folds = tuple(
            FoldResult(fold=n, score=100 * (1 - share) + n - 3, dev_score=70.0, test_size=20)
            for n in range(1, 6)
        )
        return {"folds": folds}
    return {}


def _bucket(name: str, audio: float, speedup: float, compared: bool) -> BucketTiming:
    against = audio / 20
    return BucketTiming(
        name=name,
        audio_seconds=audio,
        batch_size=1,
        seconds=against / speedup,
        interquartile_range=0.02 * against / speedup,
        rtfx=20 * speedup,
        against_seconds=against if compared else None,
        against_interquartile_range=0.02 * against if compared else None,
        speedup=speedup if compared else None,
        interval=(speedup * 0.98, speedup * 1.03) if compared else None,
    )


def entry(**values: Any) -> Entry:
    """A row of any table, with what plots need."""
    needed = {"upstream": "who", "metric": "accuracy", "higher_is_better": True}
    return Entry(**{**needed, "score": 90.0, "standard_error": 1.0, **values})
