"""Tiny Whisper models with random weights that write letters, and their tokenizer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from tokenizers.pre_tokenizers import ByteLevel
from transformers import GenerationConfig, WhisperFeatureExtractor, WhisperTokenizerFast

from .small import MELS, small_model

WINDOW = 2.0
"""Seconds of audio that the encoder takes at a time."""

_BYTES = sorted(ByteLevel.alphabet())
_SPECIAL = (
    "<|endoftext|>",
    "<|startoftranscript|>",
    "<|en|>",
    "<|de|>",
    "<|translate|>",
    "<|transcribe|>",
    "<|startoflm|>",
    "<|startofprev|>",
    "<|nospeech|>",
    "<|notimestamps|>",
)
_TOKENS = {token: number for number, token in enumerate((*_BYTES, *_SPECIAL))}
_LETTERS = "Ġabcde"
"""What is not suppressed; the first one is the space."""


def tokenizer(seconds: float = WINDOW) -> WhisperTokenizerFast:
    """Return a tokenizer of bytes, with Whisper's special tokens and time stamps."""
    made = WhisperTokenizerFast(
        vocab=_TOKENS, merges=[], additional_special_tokens=list(_SPECIAL[1:])
    )
    made.add_tokens([f"<|{number * 0.02:.2f}|>" for number in range(round(seconds / 0.02) + 1)])
    return made


def talking_folder(
    folder: Path,
    seed: int = 0,
    *,
    english_only: bool = False,
    with_tokenizer: bool = True,
    seconds: float = WINDOW,
    **sizes: Any,
) -> Path:
    """Write a folder of transformers whose model writes random words of five letters."""
    written = tokenizer(seconds)
    end, start = _TOKENS["<|endoftext|>"], _TOKENS["<|startoftranscript|>"]
    common: dict[str, Any] = {
        "pad_token_id": end,
        "bos_token_id": end,
        "eos_token_id": end,
        "decoder_start_token_id": start,
    }
    model = small_model(
        seed,
        **common,
        begin_suppress_tokens=None,
        vocab_size=len(written),
        max_source_positions=round(seconds / 0.02),
        **{"decoder_layers": 2, **sizes},
    )
    with torch.no_grad():  # else most of what it writes would be time stamps
        model.get_output_embeddings().weight[len(_TOKENS) :] *= 0.2
    languages = {"<|en|>": _TOKENS["<|en|>"], "<|de|>": _TOKENS["<|de|>"]}
    tasks = {name: _TOKENS[f"<|{name}|>"] for name in ("transcribe", "translate")}
    several = {} if english_only else {"lang_to_id": languages, "task_to_id": tasks}
    kept = {_TOKENS[letter] for letter in _LETTERS} | {end}
    model.generation_config = GenerationConfig(
        **common,
        **several,
        is_multilingual=not english_only,
        no_timestamps_token_id=_TOKENS["<|notimestamps|>"],
        prev_sot_token_id=_TOKENS["<|startofprev|>"],
        max_initial_timestamp_index=20,
        max_length=32,
        suppress_tokens=[number for number in _TOKENS.values() if number not in kept],
        begin_suppress_tokens=[_TOKENS["Ġ"], end],
    )
    model.save_pretrained(folder)
    chunk = WhisperFeatureExtractor(feature_size=MELS, chunk_length=round(seconds))
    chunk.save_pretrained(folder)
    if with_tokenizer:
        written.save_pretrained(folder)
    # transformers' own loaders recognise the class by this.
    assert json.loads((folder / "config.json").read_text())["model_type"] == "whisper"
    return folder
