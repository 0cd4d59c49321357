"""The inputs of the fuzzer: mutations of valid files, and the functions that read them.

Each target writes one mutated input to a folder, as a function of the random generator alone, and
reads it with the function that the commands call.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from shutil import copytree

import torch
from fuzz_child import SECONDS, Outcome
from fuzz_mutations import (
    PICKLE_RAN,
    mutate_audio,
    mutate_bytes,
    mutate_json,
    mutate_pickle,
    mutate_safetensors,
    mutate_table,
    mutate_text,
    mutate_yaml,
)

from s3prl_compress.audio import open_audio, open_transcribed, read_audio, read_header
from s3prl_compress.audio.clips import SAMPLING_RATE
from s3prl_compress.cli.compression_recipes import read_recipe
from s3prl_compress.common.errors import InputError
from s3prl_compress.encoder import load, load_unless_loaded
from s3prl_compress.methods import check_settings
from s3prl_compress.pretraining.recipe import load_recipe
from s3prl_compress.report import report
from s3prl_compress.suite.run import run_suite
from s3prl_compress.tasks.base.transcripts import open_transcripts
from s3prl_compress.tasks.registry import find_task, prepare_corpus
from s3prl_compress.whisper import load as load_whisper


@dataclass(frozen=True)
class Target:
    """One kind of input."""

    originals: tuple[str, ...]
    """Names of folders of valid files, of which an input is a mutated copy."""
    files: tuple[str, ...]
    """Patterns of the files that are mutated, one of them per input."""
    mutate: Callable[[bytes, Random], bytes]
    read: Callable[[Path], object]
    """Read the input in a folder, as the commands do."""

    def write(self, originals: Path, folder: Path, random: Random) -> None:
        """Write a mutated input to `folder`, which is new."""
        copytree(originals / random.choice(self.originals), folder)
        path = random.choice([path for name in self.files for path in sorted(folder.rglob(name))])
        path.write_bytes(self.mutate(path.read_bytes(), random))


def _read_pt(folder: Path) -> object:
    return load(folder / "model.pt")


def _read_suite(folder: Path) -> object:
    return run_suite(folder / "suite.yaml", output=folder / "out", dry_run=True)


def _read_task_recipe(folder: Path) -> object:
    task = find_task("ks")
    return [task.load_settings(folder / "recipe.yaml", engine) for engine in ("onepass", "s3prl")]


def _read_compression(folder: Path) -> object:
    steps = read_recipe(folder / "recipe.yaml").steps()
    return [check_settings(step.method, step.settings) for step in steps]


def _read_pretraining(folder: Path) -> object:
    return load_recipe(folder / "recipe.yaml")


def _read_exported(folder: Path) -> object:
    exported = load_unless_loaded(folder / "model.onnx")
    with torch.no_grad():
        return exported([torch.zeros(SAMPLING_RATE)])


def _read_records(folder: Path) -> object:
    return report(folder, folder / "out")


def _read_table(folder: Path) -> object:
    task = (folder / "task").read_text()
    return prepare_corpus(task, folder / "metadata.csv", folder / "corpus")


def _read_audio_table(folder: Path) -> object:
    return open_audio(folder).contents()


def _read_transcripts(folder: Path) -> object:
    open_transcripts(folder).check()
    return open_transcribed(folder)


def _read_audio(folder: Path) -> object:
    (path,) = folder.iterdir()
    return read_header(path), read_audio(path), open_audio(folder).hold()


TARGETS: dict[str, Target] = {
    "config": Target(("ours1", "ours2"), ("config.json",), mutate_json, load),
    "transformers": Target(("transformers",), ("*.json",), mutate_json, load),
    "safetensors": Target(
        ("ours2", "transformers"), ("model.safetensors",), mutate_safetensors, load
    ),
    "suite": Target(("suite",), ("suite.yaml",), mutate_yaml, _read_suite),
    "task recipe": Target(("task",), ("recipe.yaml",), mutate_yaml, _read_task_recipe),
    "recipe": Target(("compression",), ("recipe.yaml",), mutate_yaml, _read_compression),
    "pretraining": Target(("pretraining",), ("recipe.yaml",), mutate_yaml, _read_pretraining),
    "table": Target(("ks", "sid", "asr"), ("metadata.csv",), mutate_table, _read_table),
    "audio table": Target(("asr",), ("metadata.csv",), mutate_table, _read_audio_table),
    "transcripts": Target(("librispeech",), ("*.txt",), mutate_text, _read_transcripts),
    "audio": Target(("wav", "float", "flac", "ogg"), ("*",), mutate_audio, _read_audio),
    "whisper": Target(("whisper1", "whisper2"), ("*.json",), mutate_json, load_whisper),
    "whisper weights": Target(
        ("whisper1", "whisper2"), ("model.safetensors",), mutate_safetensors, load_whisper
    ),
    "onnx": Target(("onnx",), ("model.onnx",), mutate_bytes, _read_exported),
    "record": Target(("record",), ("*.json",), mutate_json, _read_records),
    "pt": Target(("s3prl", "s3prl wavlm", "torchaudio"), ("model.pt",), mutate_pickle, _read_pt),
}


def read_input(target: str, originals: Path, folder: Path, seed: str) -> Outcome:
    """Write an input to `folder`, which is new, read it, and say what happened."""
    TARGETS[target].write(originals, folder, Random(seed))
    PICKLE_RAN.unlink(missing_ok=True)
    started = time.perf_counter()
    kind, message = "accepted", ""
    try:
        TARGETS[target].read(folder)
    except InputError as error:
        kind, message = "refused", str(error)
        if not message.strip():
            kind = "no message"
    except BaseException as error:  # whatever it is, users would see a traceback
        kind, message = type(error).__name__, traceback.format_exc()
    seconds = time.perf_counter() - started
    if PICKLE_RAN.exists():
        PICKLE_RAN.unlink()
        kind = "ran a pickle"
    return Outcome("hang" if seconds > SECONDS else kind, message, seconds)
