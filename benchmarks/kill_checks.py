"""What `kill_suite` looks at after a kill, and what it compares after an end."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import onnx
import torch
from pydantic import BaseModel
from safetensors.torch import load_file

from s3prl_compress.common.files import sha256
from s3prl_compress.encoder.exported import load_exported
from s3prl_compress.evaluation.cell import finished_record
from s3prl_compress.results.records import ScoreRecord, TimeRecord, read_record, read_records
from s3prl_compress.suite.models import kind_of_source

_TEMPORARY = ".*.????????"


class End(BaseModel):
    """A run that came to its end."""

    after: int
    """Number of the shard's kills before it."""
    equal: int
    """Scores equal to those of the undisturbed run, with their predictions."""
    resumed: int
    """Cells of s3prl's engine that are marked as resumed."""
    upstreams: int
    """Upstreams whose weights, or files, are those of the undisturbed run."""
    times: int


def temporary_files(output: Path) -> set[Path]:
    """Return the half-written files and folders below an output folder."""
    return set(output.rglob(_TEMPORARY))


def look(output: Path) -> tuple[dict[str, int], list[str], set[str]]:
    """Count what is whole in an output folder; name what is not, and the whole records."""
    counts: dict[str, int] = {}
    faults = []
    complete = set()
    for kind, pattern, check in (
        ("records", "records/*.json", _check_record),
        ("checkpoints", "upstreams/*/config.json", lambda path: _loaded(path.parent)),
        ("exports", "upstreams/*.onnx", load_exported),
        ("cards", "upstreams/*.json", lambda path: json.loads(path.read_text("utf-8"))),
        ("states", "upstreams/*.work/*/state/state.json", _check_training),
        ("s3prl's states", "records/.work/**/*.ckpt", _check_state),
        ("features", "records/.work/features/*.json", _check_stored),
        ("corpora", "corpora/*/corpus.json", lambda path: json.loads(path.read_text("utf-8"))),
    ):
        counts[kind] = 0
        for path in sorted(output.glob(pattern)):
            if path.name.startswith("."):
                continue
            try:
                check(path)
                counts[kind] += 1
                if kind == "records":
                    complete.add(path.name)
            except Exception as error:  # whatever it is, it goes into the list
                faults.append(f"{path.relative_to(output)}: {type(error).__name__}: {error}")
    return counts, faults, complete


def _loaded(folder: Path) -> Any:
    return kind_of_source(folder).load(str(folder), None)


def _check_record(path: Path) -> None:
    if isinstance(read_record(path), TimeRecord):
        return
    if finished_record(path.parent, path.stem) is None:
        raise ValueError("not a whole record with all of its predictions")


def _check_training(path: Path) -> None:
    json.loads(path.read_text("utf-8"))
    load_file(path.with_name("state.safetensors"))


def _check_state(path: Path) -> None:
    with torch.serialization.safe_globals([argparse.Namespace]):
        torch.load(path, map_location="cpu", weights_only=True)


def _check_stored(path: Path) -> None:
    """Check the index of stored features or frames against their file."""
    index = json.loads(path.read_text("utf-8"))
    if "sha256" in index:
        if sha256(path.with_suffix(".npy")) != index["sha256"]:
            raise ValueError("features of another checksum")
        return
    states, frames, width = index["identity"]["shape"]
    if path.with_suffix(".frames").stat().st_size != 2 * states * frames * width:
        raise ValueError("frames of another size")


def records_of(output: Path) -> tuple[dict[str, ScoreRecord], int]:
    """Return the scores in an output folder by their cells, and count the timings.

    A cell is known by the file name of its record without the hash: an exported model is identified
    by its file, which has the date at which its base was made.
    """
    found = [record for _, record in read_records(output / "records")]
    scores = {
        record.predictions.removesuffix(".csv").rpartition(".")[0]: record
        for record in found
        if isinstance(record, ScoreRecord)
    }
    return scores, sum(isinstance(record, TimeRecord) for record in found)


def compare(output: Path, plain: Path) -> tuple[End, list[str]]:
    """Compare a suite that was killed with the undisturbed one."""
    (ours, our_times), (theirs, their_times) = records_of(output), records_of(plain)
    faults = []
    equal = resumed = upstreams = 0
    if set(ours) != set(theirs):
        faults.append(f"other cells: {sorted(set(ours) ^ set(theirs))}")
    if our_times != their_times:
        faults.append(f"{our_times} timings in place of {their_times}")
    for name in sorted(set(ours) & set(theirs)):
        one, other = ours[name], theirs[name]
        predictions = [
            (folder / "records" / record.predictions).read_bytes()
            for folder, record in ((output, one), (plain, other))
        ]
        same = (one.score, one.rates, one.dev_score) == (other.score, other.rates, other.dev_score)
        if one.resumed and one.engine == "s3prl":
            resumed += 1
        elif same and predictions[0] == predictions[1]:
            equal += 1
        else:
            faults.append(f"{name}: {one.score} in place of {other.score}, and not marked resumed")
    for path in sorted((plain / "upstreams").iterdir()):
        other_path = output / "upstreams" / path.name
        if path.name.endswith((".json", ".work")) or path.name.startswith("."):
            continue
        # As loaded: files hold dates.
        if other_path.exists() and _weights(path) == _weights(other_path):
            upstreams += 1
        else:
            faults.append(f"upstream {path.name}: other weights")
    found = End(after=0, equal=equal, resumed=resumed, upstreams=upstreams, times=our_times)
    return found, faults


def _weights(path: Path) -> str | bytes:
    """Return what an upstream computes, without dates."""
    if path.suffix != ".onnx":
        return kind_of_source(path).fingerprint(_loaded(path))
    model = onnx.load(path)
    del model.metadata_props[:]
    content: bytes = model.SerializeToString(deterministic=True)
    return content
