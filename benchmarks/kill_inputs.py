"""The suite that `kill_suite` kills: every kind of cell, on small models and a few tones.

The six tasks from SUPERB, `ctc` and `whisper`, both engines, a method that trains, a chain of
methods, an exported model and timing: about a minute on one thread.
"""

from __future__ import annotations

import csv
import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from rehearsal_corpora import encode, noisy_tones, write_corpus
from tokenizers.pre_tokenizers import ByteLevel

from s3prl_compress.encoder import named_shape, random_encoder, save
from s3prl_compress.training.ctc import add_head

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
EMOTIONS = ("neu", "hap", "ang", "sad")
SECONDS = (0.3, 0.5)
"""Of a recording."""

_RECIPE: dict[str, Any] = {
    "extends": "smoke",
    "total_steps": 100,
    "eval_step": 20,
    "batch_size": 8,
    "learning_rates": [1e-3, 3e-4],  # too low to get everything right
    # One rate, because s3prl takes most of its time to start; enough steps that some kills hit it.
    "engines": {"s3prl": {"learning_rates": [1e-3], "total_steps": 120}},
}
_RECOGNISER = {
    "project_dim": 16, "rnn_dim": 16, "rnn_layers": 1, "dropout": 0.2, "specaug": False
}  # fmt: skip


def write_inputs(folder: Path) -> Path:
    """Write corpora, recipes and a model below a folder; return the suite's file."""
    for task, header, rows in (
        ("ks", ("file", "label", "speaker", "split"), _words()),
        ("sid", ("file", "label", "speaker", "split"), _speakers()),
        ("er", ("file", "label", "speaker", "split"), _emotions()),
        ("ic", ("file", "action", "object", "location", "speaker", "split"), _intents()),
    ):
        _write_table(folder / task, header, list(rows))
    read = write_corpus("pr", folder / "pr", 1e-9, SECONDS)
    reader = random_encoder(named_shape("hubert_tiny"), seed=1)
    add_head(reader, ["YES NO CAT DOG SUN TEN"], seed=0)
    save(reader, folder / "reader")
    _write_whisper(folder / "whisper")
    for name, more in (
        ("quick", {"crops_per_file": 4}),
        ("asr", {"total_steps": 60, "recognition": _RECOGNISER}),
        ("pr", {"total_steps": 60}),
    ):
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(_RECIPE | more))
    path = folder / "suite.yaml"
    suite = _suite(folder, read.source)
    path.write_text(yaml.safe_dump(suite, sort_keys=False))
    return path


def _suite(folder: Path, speech: Path) -> dict[str, Any]:
    trained = {
        "audio": str(folder / "sid" / "audio"),
        "sparsity": 0.3,
        "steps": 12,
        "final_steps": 12,
        "batch_seconds": 2,
        "accumulation": 1,
        "log_every": 2,
        "checkpoint_every": 4,
        "workers": 1,
    }

    def table(task: str) -> str:
        return str(folder / task / "metadata.csv")

    return {
        "output": "unused",
        "device": "cpu",
        "threads": 1,
        "seeds": [0, 1],
        "upstreams": [
            {"name": "tiny", "random": {"shape": "hubert_tiny"}},
            {"name": "half", "from": "tiny", "method": "magnitude", "settings": {"sparsity": 0.5}},
            {"name": "gates", "from": "tiny", "method": "structured", "settings": trained},
            {
                "name": "gates.rank",
                "from": "gates",
                "method": "low_rank",
                "settings": {"sparsity": 0.1},
                "stored_as": "float16",
            },
            {"name": "half.onnx", "from": "half", "export": {"format": "onnx", "dtype": "int8"}},
            {"name": "reader", "source": str(folder / "reader")},
            {"name": "whisper", "source": str(folder / "whisper")},
            {
                "name": "whisper.half",
                "from": "whisper",
                "method": "magnitude",
                "settings": {"sparsity": 0.5},
            },
        ],
        "tasks": [
            {
                "task": "ks",
                "data": table("ks"),
                "recipe": "quick.yaml",
                "upstreams": ["half", "half.onnx"],
            },
            {
                "task": "ks",
                "data": table("ks"),
                "recipe": "quick.yaml",
                "engines": ["s3prl"],
                "seeds": [0],
                "upstreams": ["half"],
            },
            {
                "task": "sid",
                "data": table("sid"),
                "recipe": "quick.yaml",
                "upstreams": ["tiny", "gates"],
            },
            {"task": "er", "data": table("er"), "recipe": "quick.yaml", "upstreams": ["gates"]},
            {"task": "ic", "data": table("ic"), "recipe": "quick.yaml", "upstreams": ["half.onnx"]},
            {
                "task": "pr",
                "data": str(folder / "pr" / "prepared"),
                "recipe": "pr.yaml",
                "upstreams": ["gates.rank"],
            },
            {"task": "asr", "data": str(speech), "recipe": "asr.yaml", "upstreams": ["half"]},
            {"task": "ctc", "data": str(speech / "test-clean"), "upstreams": ["reader"]},
            {
                "task": "whisper",
                "data": str(speech / "test-clean"),
                "options": {"max_new_tokens": 8},
                "upstreams": ["whisper.half"],
            },
        ],
        "time": {
            "against": "tiny", "threads": 1, "repeats": 3, "warmup": 0, "utterances_per_bucket": 1
        },
    }  # fmt: skip


def _write_whisper(folder: Path) -> None:
    """Write a small random Whisper model for English that takes a second and knows single bytes."""
    transformers = importlib.import_module("transformers")
    special = ["<|endoftext|>", "<|startoftranscript|>", "<|transcribe|>", "<|notimestamps|>"]
    tokens = [*special, *sorted(ByteLevel.alphabet())]
    ids: dict[str, Any] = {
        "pad_token_id": 0, "bos_token_id": 0, "eos_token_id": 0, "decoder_start_token_id": 1
    }  # fmt: skip
    torch.manual_seed(0)
    config = transformers.WhisperConfig(
        vocab_size=len(tokens),
        num_mel_bins=8,
        d_model=16,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        max_source_positions=50,
        max_target_positions=16,
        begin_suppress_tokens=None,
        init_std=0.5,  # else all utterances get the same text
        **ids,
    )
    model = transformers.WhisperForConditionalGeneration(config)
    model.generation_config = transformers.GenerationConfig(
        is_multilingual=False,
        no_timestamps_token_id=tokens.index("<|notimestamps|>"),
        suppress_tokens=list(range(1, len(special))),
        max_length=16,
        **ids,
    )
    model.save_pretrained(folder)
    transformers.WhisperFeatureExtractor(feature_size=8, chunk_length=1).save_pretrained(folder)
    transformers.WhisperTokenizerFast(
        vocab={token: number for number, token in enumerate(tokens)},
        merges=[],
        additional_special_tokens=special[1:],
    ).save_pretrained(folder)


def _words() -> Iterator[tuple[tuple[str, ...], float]]:
    for split, takes in (("train", 3), ("valid", 2), ("test", 2)):
        for number, word in enumerate(DIGITS):
            for take in range(takes):
                row = (f"{split}-{word}-{take}.wav", word, f"{split}{take}", split)
                yield row, number / len(DIGITS)


def _speakers() -> Iterator[tuple[tuple[str, ...], float]]:
    for number in range(5):
        for split, takes in (("train", 4), ("valid", 2), ("test", 2)):
            for take in range(takes):
                yield (
                    (f"{split}-{number}-{take}.wav", f"P{number}", f"P{number}", split),
                    number / 5,
                )


def _emotions() -> Iterator[tuple[tuple[str, ...], float]]:
    for session in range(1, 6):
        for number, emotion in enumerate(EMOTIONS):
            for voice in "fm":
                row = (f"{session}{voice}-{emotion}.wav", emotion, f"{session}{voice}")
                yield (*row, f"session{session}"), number / len(EMOTIONS)


def _intents() -> Iterator[tuple[tuple[str, ...], float]]:
    wanted = (
        ("activate", "lamp", "kitchen"),
        ("increase", "heat", "none"),
        ("bring", "socks", "none"),
    )
    for split, takes in (("train", 4), ("valid", 2), ("test", 3)):
        for number, intent in enumerate(wanted):
            for take in range(takes):
                row = (f"{split}-{number}-{take}.wav", *intent, f"{split}{take}", split)
                yield row, number / len(wanted)


def _write_table(
    folder: Path, header: tuple[str, ...], rows: list[tuple[tuple[str, ...], float]]
) -> None:
    """Write a table for `prepare`, and a tone between 0 and 1 (the highest) for each row."""
    audio = folder / "audio"
    audio.mkdir(parents=True)
    random = np.random.default_rng(0)
    with (folder / "metadata.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(header)
        for (name, *others), tone in rows:
            wave = noisy_tones([tone], random.uniform(*SECONDS), random)
            (audio / name).write_bytes(encode(wave, ".wav"))
            table.writerow((f"audio/{name}", *others))
