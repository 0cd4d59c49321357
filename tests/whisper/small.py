"""Tiny Whisper models with random weights, in the formats of transformers and openai."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig, WhisperConfig, WhisperForConditionalGeneration

END, START, NO_TIMESTAMPS, VOCABULARY = 0, 1, 60, 120
MELS, FRAMES = 8, 40

SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "num_mel_bins": MELS,
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 3,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 40,
    "decoder_ffn_dim": 24,
    "max_source_positions": FRAMES // 2,
    "max_target_positions": 32,
}
TOKENS: dict[str, Any] = {
    "pad_token_id": END,
    "bos_token_id": END,
    "eos_token_id": END,
    "decoder_start_token_id": START,
    "begin_suppress_tokens": [7],
}


def small_model(seed: int = 0, **sizes: Any) -> WhisperForConditionalGeneration:
    """Return a model of transformers whose weights, biases included, are far from zero."""
    torch.manual_seed(seed)
    model = WhisperForConditionalGeneration(WhisperConfig(**{**SIZES, **TOKENS, **sizes}))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "layer_norm" not in name:
                # Large positions, so that the tokens vary.
                parameter.normal_(std=1.5 if "decoder.embed_positions" in name else 0.25)
    model.generation_config = GenerationConfig(
        **TOKENS,
        no_timestamps_token_id=NO_TIMESTAMPS,
        max_length=24,
        is_multilingual=False,
        suppress_tokens=[3, 5],
        alignment_heads=[[0, 1], [2, 0]],
        max_initial_timestamp_index=10,
        prev_sot_token_id=2,
    )
    return model.eval()


def small_folder(folder: Path, seed: int = 0, **sizes: Any) -> Path:
    """Write a folder as transformers does, with stand-ins for the tokenizer's files."""
    small_model(seed, **sizes).save_pretrained(folder)
    (folder / "vocab.json").write_text(json.dumps({"a": 0}))
    (folder / "preprocessor_config.json").write_text('{"feature_size": 8}\n')
    return folder


def features(batch: int = 1, frames: int = FRAMES, seed: int = 1) -> Tensor:
    """Return log-mel features [batch, mels, frames]."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, MELS, frames, generator=generator)


MODES: dict[str, dict[str, Any]] = {
    "greedy": {},
    "no cache": {"use_cache": False},
    "beam": {"num_beams": 5},
    "static cache": {"cache_implementation": "static"},
    "timestamps": {"return_timestamps": True},
    "long form": {"return_timestamps": True, "condition_on_prev_tokens": True},
}


def tokens(model: WhisperForConditionalGeneration, mode: str, batch: int = 2) -> Tensor:
    """Return the tokens of `generate` in one of `MODES`."""
    inputs = features(batch, 3 * FRAMES if mode == "long form" else FRAMES)
    if mode == "long form":
        mask = torch.ones(batch, inputs.shape[-1], dtype=torch.long)
        return model.generate(inputs, attention_mask=mask, max_new_tokens=12, **MODES[mode])
    return model.generate(inputs, max_new_tokens=12, **MODES[mode])


def logits(model: WhisperForConditionalGeneration, batch: int = 2) -> Tensor:
    """Return the logits of a fixed text, [batch, tokens, vocabulary]."""
    generator = torch.Generator().manual_seed(2)
    text = torch.randint(VOCABULARY, (batch, 9), generator=generator)
    with torch.no_grad():
        return model(input_features=features(batch), decoder_input_ids=text).logits
