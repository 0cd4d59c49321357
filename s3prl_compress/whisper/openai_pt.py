"""openai's own Whisper files: `dims` and `model_state_dict`, without tokenizer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from ..common.errors import InputError
from ..common.model_errors import first_mistake
from ..encoder.importers.reading import tensors_only
from ..encoder.importers.whisper_encoder import openai_to_transformers
from .model import GENERATION_FILE
from .shape import WhisperShape, dense_shape

VOCABULARIES = range(51864, 51867)
"""English only; 99 languages; 100 languages (large-v3 and turbo)."""

_DIMENSIONS = (
    "n_mels",
    "n_audio_ctx",
    "n_audio_state",
    "n_audio_head",
    "n_audio_layer",
    "n_vocab",
    "n_text_ctx",
    "n_text_state",
    "n_text_head",
    "n_text_layer",
)


def read_openai(
    path: Path, content: Mapping[str, Any]
) -> tuple[WhisperShape, dict[str, Any], dict[str, Tensor], dict[str, bytes]]:
    """Return shape, settings, weights by transformers' names, and files of an openai model.

    The files are a generation config and a feature extractor's config, which follow from the
    dimensions. There is no tokenizer in this format; that of the same model's transformers folder
    fits.

    Raises:
        InputError: dimensions are missing or impossible, or the vocabulary is none of openai's.
    """
    from transformers import WhisperFeatureExtractor

    dims = content["dims"]
    missing = [name for name in _DIMENSIONS if not isinstance(dims, dict) or name not in dims]
    if missing:
        raise InputError(f"{path}: dims: {missing[0]} is missing")
    if dims["n_vocab"] not in VOCABULARIES:
        raise InputError(
            f"{path}: dims: n_vocab is {dims['n_vocab']!r}; openai's models have one from "
            f"{VOCABULARIES[0]} to {VOCABULARIES[-1]}"
        )
    if dims["n_audio_state"] != dims["n_text_state"]:
        raise InputError(f"{path}: dims: n_audio_state and n_text_state differ")
    tensors = {
        openai_to_transformers(name): tensor
        for name, tensor in tensors_only(content["model_state_dict"], str(path)).items()
    }
    widths = [
        len(tensors[name]) if (name := f"model.{stack}.layers.0.fc1.weight") in tensors else 0
        for stack in ("encoder", "decoder")
    ]
    try:
        shape = dense_shape(
            hidden=dims["n_audio_state"],
            mel_bins=dims["n_mels"],
            vocabulary=dims["n_vocab"],
            audio_positions=dims["n_audio_ctx"],
            text_positions=dims["n_text_ctx"],
            encoder_heads=dims["n_audio_head"],
            decoder_heads=dims["n_text_head"],
            encoder_layers=dims["n_audio_layer"],
            decoder_layers=dims["n_text_layer"],
            encoder_ffn=widths[0],
            decoder_ffn=widths[1],
        )
    except ValueError as error:
        raise InputError(f"{path}: dims: {first_mistake(error)}") from error
    generation = generation_settings(shape.vocabulary, shape.text_positions)
    kept = ("pad", "bos", "eos", "decoder_start")
    settings = {f"{name}_token_id": generation[f"{name}_token_id"] for name in kept}
    extractor = WhisperFeatureExtractor(feature_size=shape.mel_bins)
    files = {
        GENERATION_FILE: json.dumps(generation, indent=2).encode() + b"\n",
        "preprocessor_config.json": extractor.to_json_string().encode(),
    }
    return shape, settings, tensors, files


def generation_settings(vocabulary: int, text_positions: int) -> dict[str, Any]:
    """Return the generation config of an openai model, which follows from its vocabulary's size.

    Special tokens follow the text in openai's order: end of text, start of transcript, languages,
    translate, transcribe, start of LM, start of previous, no speech, no timestamps. All but the
    end, the languages and no-timestamps are suppressed, as by openai's decoder, together with its
    list of non-speech symbols.
    """
    from transformers.models.whisper.configuration_whisper import (
        NON_SPEECH_TOKENS,
        NON_SPEECH_TOKENS_MULTI,
    )
    from transformers.models.whisper.tokenization_whisper import LANGUAGES

    multilingual = vocabulary >= VOCABULARIES[1]
    end = 50257 if multilingual else 50256
    languages = list(LANGUAGES)[: vocabulary - 51765 - int(multilingual)]
    start = end + 1
    translate = start + 1 + len(languages)
    transcribe, _, previous, _, no_timestamps = range(translate + 1, translate + 6)
    symbols = NON_SPEECH_TOKENS_MULTI if multilingual else NON_SPEECH_TOKENS
    settings: dict[str, Any] = {
        "begin_suppress_tokens": [220, end],
        "bos_token_id": end,
        "decoder_start_token_id": start,
        "eos_token_id": end,
        "is_multilingual": multilingual,
        "max_initial_timestamp_index": 50,
        "max_length": text_positions,
        "no_timestamps_token_id": no_timestamps,
        "pad_token_id": end,
        "prev_sot_token_id": previous,
        "return_timestamps": False,
        "suppress_tokens": [
            *(symbol for symbol in symbols if symbol < end),
            start,
            *range(translate, no_timestamps),
        ],
    }
    if multilingual:
        settings["lang_to_id"] = {f"<|{own}|>": start + 1 + n for n, own in enumerate(languages)}
        settings["task_to_id"] = {"transcribe": transcribe, "translate": translate}
    return settings
