"""Small valid files of every kind, of which the fuzzer's inputs are mutated copies."""

from __future__ import annotations

import json
import re
from pathlib import Path
from shutil import copytree
from typing import Any

import numpy as np
import soundfile
import torch
import yaml

from s3prl_compress.encoder import SpeechEncoder, dense_shape, random_encoder, save
from s3prl_compress.encoder.exporters.transformers import export_transformers
from s3prl_compress.training.ctc import add_head

RATE = 16_000
RECIPES = Path(__file__).parents[1] / "recipes"

_FORMAT_1 = ("format", "shape", "normalize", "normalize_eps", "sampling_rate", "stored_as")
_SUITE = {
    "output": "out",
    "seeds": [0, 1],
    "device": "cpu",
    "threads": 1,
    "upstreams": [
        {"name": "tiny", "random": {"shape": "hubert_tiny", "seed": 0}},
        {"name": "half", "from": "tiny", "method": "magnitude", "settings": {"sparsity": 0.5}},
        {"name": "onnx", "from": "half", "export": {"format": "onnx", "dtype": "int8"}},
    ],
    "tasks": [
        {"task": "ks", "data": "demo", "recipe": "smoke", "engines": ["onepass", "s3prl"]},
        {"task": "sid", "data": "demo", "padding": "fairseq", "seeds": [3], "upstreams": ["half"]},
    ],
    "time": {"against": "tiny", "threads": 1, "repeats": 3, "warmup": 1, "batch_size": 2},
    "cluster": {"partition": "x", "cpus": 2, "hours": 1.5, "setup": ["true"], "more": {"x": 1}},
}
_COMPRESSION = {
    "method": "clustering",
    "settings": {"form": "fold", "sparsity": 0.1, "multiple": 8},
    "then": [{"method": "magnitude", "settings": {"granularity": "channel", "sparsity": 0.5}}],
}


def write_originals(folder: Path) -> None:
    """Write a small valid input of every kind."""
    encoder = _encoder()
    save(encoder, folder / "ours2")
    config = json.loads((folder / "ours2" / "config.json").read_text())
    older = {name: config[name] for name in (*_FORMAT_1, "head", "provenance")}
    copytree(folder / "ours2", folder / "ours1")
    (folder / "ours1" / "config.json").write_text(json.dumps(older | {"format_version": 1}))
    export_transformers(encoder, folder / "transformers")
    for name, content in (("s3prl", _s3prl(encoder)), ("torchaudio", _torchaudio(encoder))):
        (folder / name).mkdir()
        torch.save(content, folder / name / "model.pt")
    for name, file, content in (
        ("suite", "suite.yaml", yaml.safe_dump(_SUITE)),
        ("task", "recipe.yaml", (RECIPES / "tasks" / "ks_small.yaml").read_text()),
        ("compression", "recipe.yaml", yaml.safe_dump(_COMPRESSION)),
        ("pretraining", "recipe.yaml", (RECIPES / "pretrain" / "hubert_demo.yaml").read_text()),
    ):
        (folder / name).mkdir()
        (folder / name / file).write_text(content)
    _write_audio(folder)
    _write_tables(folder)


def _encoder() -> SpeechEncoder:
    shape = dense_shape(
        "hubert",
        hidden=16,
        layers=2,
        heads=2,
        ffn=8,
        conv_widths=(4,) * 7,
        position_kernel=4,
        position_groups=2,
    )
    encoder = random_encoder(shape)
    add_head(encoder, ["ab cd"], seed=0)
    return encoder


def _s3prl(encoder: SpeechEncoder) -> dict[str, Any]:
    """Return the content of a file of s3prl's converter, with fairseq's names."""
    renamed = (
        (r"^masked_spec_embed$", "mask_emb"),
        (r"^feature_projection\.projection\.", "post_extract_proj."),
        (r"^feature_projection\.", ""),
        (r"^(feature_extractor\.conv_layers\.\d+)\.conv\.", r"\1.0."),
        (r"^(feature_extractor\.conv_layers\.\d+)\.layer_norm\.", r"\1.2."),
        (r"^encoder\.pos_conv_embed\.conv\.", "encoder.pos_conv.0."),
        (r"parametrizations\.weight\.original0$", "weight_g"),
        (r"parametrizations\.weight\.original1$", "weight_v"),
        (r"^(encoder\.layers\.\d+)\.layer_norm\.", r"\1.self_attn_layer_norm."),
        (r"\.attention\.", ".self_attn."),
        (r"\.feed_forward\.intermediate_dense\.", ".fc1."),
        (r"\.feed_forward\.output_dense\.", ".fc2."),
    )
    config = {
        "label_rate": 50.0,
        "extractor_mode": "default",
        "encoder_layers": 2,
        "encoder_embed_dim": 16,
        "encoder_ffn_embed_dim": 8,
        "encoder_attention_heads": 2,
        "layer_norm_first": False,
        "conv_feature_layers": "[(4,10,5)] + [(4,3,2)] * 4 + [(4,2,2)] * 2",
        "conv_bias": False,
        "conv_pos": 4,
        "conv_pos_groups": 2,
    }
    return {
        "task_cfg": {"normalize": False},
        "model_cfg": config,
        "model_weight": _state(encoder, renamed),
        "dictionaries_symbols": [["a", "b"]],
    }


def _torchaudio(encoder: SpeechEncoder) -> dict[str, Any]:
    """Return the content of a file in torchaudio's format, as DPHuBERT writes it."""
    renamed = (
        (r"^encoder\.", "encoder.transformer."),
        (r"^feature_projection\.", "encoder.feature_projection."),
    )
    config = {
        "extractor_mode": "group_norm",
        "extractor_conv_layer_config": [[4, 10, 5]] + [[4, 3, 2]] * 4 + [[4, 2, 2]] * 2,
        "extractor_conv_bias": False,
        "encoder_embed_dim": 16,
        "encoder_pos_conv_kernel": 4,
        "encoder_pos_conv_groups": 2,
        "encoder_num_layers": 2,
        "encoder_use_attention": [True, True],
        "encoder_use_feed_forward": [True, True],
        "encoder_num_heads": [2, 2],
        "encoder_head_dim": 8,
        "encoder_ff_interm_features": [8, 8],
        "encoder_layer_norm_first": False,
        "normalize_waveform": False,
    }
    state = _state(encoder, renamed) | {
        "aux.weight": torch.zeros(3, 16),
        "aux.bias": torch.zeros(3),
    }
    return {"config": config, "state_dict": state, "labels": ["-", "a", "b"]}


def _state(encoder: SpeechEncoder, renamed: tuple[tuple[str, str], ...]) -> dict[str, torch.Tensor]:
    state = {}
    for name, tensor in encoder.state_dict().items():
        if name.startswith("head."):
            continue
        for old, new in renamed:
            name = re.sub(old, new, name)
        state[name] = tensor.clone()
    return state


def _tone(path: Path, number: int, *, seconds: float = 0.1, **options: Any) -> None:
    rate = options.pop("rate", RATE)
    time = np.arange(int(seconds * rate)) / rate
    path.parent.mkdir(parents=True, exist_ok=True)
    tone = 0.3 * np.sin(2 * np.pi * 200 * (1 + number) * time)
    channels = options.pop("channels", 1)
    soundfile.write(path, np.tile(tone[:, None], channels), rate, **options)


def _write_audio(folder: Path) -> None:
    _tone(folder / "wav" / "a.wav", 1)
    _tone(folder / "float" / "a.wav", 1, rate=8_000, channels=2, subtype="FLOAT")
    _tone(folder / "flac" / "a.flac", 1)
    _tone(folder / "ogg" / "a.ogg", 1, rate=22_050)


def _write_tables(folder: Path) -> None:
    digits = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
    labels = {"ks": digits, "sid": ("Ann", "Bob"), "asr": ("YES YES", "NO")}
    for task, values in labels.items():
        column = "text" if task == "asr" else "label"
        lines = [f"file,{column},speaker,split"]
        for split in ("train", "valid", "test"):
            for number, value in enumerate(values):
                file = f"audio/{split}{number}.wav"
                _tone(folder / task / file, number)
                speaker = f"{split}{number}" if task == "ks" else value
                lines.append(f"{file},{value},{speaker},{split}")
        (folder / task / "metadata.csv").write_text("\n".join(lines) + "\n")
        (folder / task / "task").write_text(task)
    for split in ("train-clean-100", "dev-clean", "test-clean"):
        place = folder / "librispeech" / split / "7" / "1"
        for number in range(2):
            _tone(place / f"7-1-000{number}.flac", number)
        (place / "7-1.trans.txt").write_text("7-1-0000 YES YES\n7-1-0001 NO\n")
