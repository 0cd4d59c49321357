"""What a checkpoint folder holds for transformers, beside the weights.

`AutoModel` and `AutoModelForCTC` then load the folder by the classes of `transformers_bridge`:
either because `s3prl_compress` has been imported, or by the folder's own modeling file.
"""

from __future__ import annotations

import json
from typing import Any

from .ctc_text import SPACE
from .model import SAMPLING_RATE, SpeechEncoder

MODEL_TYPE = "s3prl_compress"
"""`model_type` of the folders' config.json."""

_MODULE = "modeling_s3prl_compress"
_CLASSES = {
    "AutoConfig": "CompressedSpeechConfig",
    "AutoModel": "CompressedSpeechModel",
    "AutoModelForCTC": "CompressedSpeechForCTC",
}
_MODELING = '''\
"""Loads this folder in transformers (`trust_remote_code=True`); needs s3prl_compress."""

from s3prl_compress.transformers_bridge import (
    CompressedSpeechConfig,
    CompressedSpeechForCTC,
    CompressedSpeechModel,
)

__all__ = ["CompressedSpeechConfig", "CompressedSpeechForCTC", "CompressedSpeechModel"]
'''


def transformers_keys(encoder: SpeechEncoder, stored_as: str) -> dict[str, Any]:
    """Return what transformers reads in `config.json`, beside the checkpoint's own keys."""
    shape, head = encoder.shape, encoder.head
    kinds = ["AutoConfig", "AutoModel"]
    if head is not None:
        kinds.append("AutoModelForCTC")
    keys: dict[str, Any] = {
        "model_type": MODEL_TYPE,
        "architectures": [_CLASSES[kinds[-1]]],
        "auto_map": {kind: f"{_MODULE}.{_CLASSES[kind]}" for kind in kinds},
        "dtype": stored_as,
        "hidden_size": shape.hidden,
        "num_hidden_layers": shape.states - 1,
        "inputs_to_logits_ratio": shape.frame_stride,
    }
    if head is not None:
        keys |= {
            "vocab_size": len(head.vocabulary),
            "pad_token_id": head.blank,
            "tokenizer_class": "Wav2Vec2CTCTokenizer",
        }
    return keys


TRANSFORMERS_KEYS = frozenset(
    (
        "model_type",
        "architectures",
        "auto_map",
        "dtype",
        "hidden_size",
        "num_hidden_layers",
        "inputs_to_logits_ratio",
        "vocab_size",
        "pad_token_id",
        "tokenizer_class",
    )
)
"""All that `transformers_keys` can return."""


def companion_files(encoder: SpeechEncoder) -> dict[str, bytes]:
    """Return the content of further files by name.

    The feature extractor does not normalise, since the encoder itself does where it should.
    """
    files: dict[str, Any] = {
        "preprocessor_config.json": preprocessor_config(do_normalize=False, with_mask=True)
    }
    if encoder.head is not None:
        files |= tokenizer_files(encoder.head.vocabulary, encoder.head.blank)
    texts = {name: as_json(content) for name, content in files.items()}
    return texts | {f"{_MODULE}.py": _MODELING.encode()}


def preprocessor_config(*, do_normalize: bool, with_mask: bool) -> dict[str, Any]:
    """Return the settings of transformers' `Wav2Vec2FeatureExtractor`."""
    return {
        "feature_extractor_type": "Wav2Vec2FeatureExtractor",
        "do_normalize": do_normalize,
        "feature_size": 1,
        "padding_side": "right",
        "padding_value": 0.0,
        "return_attention_mask": with_mask,
        "sampling_rate": SAMPLING_RATE,
    }


def tokenizer_files(vocabulary: tuple[str, ...], blank: int) -> dict[str, Any]:
    """Return the content of the files of transformers' `Wav2Vec2CTCTokenizer`, by name."""
    return {
        "vocab.json": {symbol: number for number, symbol in enumerate(vocabulary)},
        # Otherwise transformers uses "<pad>" as the blank, whatever the vocabulary is.
        "tokenizer_config.json": {
            "tokenizer_class": "Wav2Vec2CTCTokenizer",
            "pad_token": vocabulary[blank],
            "word_delimiter_token": SPACE,
        },
    }


def as_json(content: Any) -> bytes:
    """Return the text of a JSON file."""
    return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()
