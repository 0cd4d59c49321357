"""Small valid files of every kind, of which the fuzzer's inputs are mutated copies."""

from __future__ import annotations

import importlib
import json
import re
from pathlib import Path
from shutil import copytree, rmtree
from typing import Any, Literal

import numpy as np
import soundfile
import torch
import yaml
from baselines import s3prl_file

from s3prl_compress import whisper
from s3prl_compress.encoder import EncoderShape, SpeechEncoder, dense_shape, random_encoder, save
from s3prl_compress.encoder.exporters import ExportOptions, Speech, find_export_target
from s3prl_compress.encoder.exporters.transformers import export_transformers
from s3prl_compress.evaluation import score
from s3prl_compress.s3prl_bridge.compat import apply_patches
from s3prl_compress.tasks.registry import prepare_corpus
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
    apply_patches()
    encoder = random_encoder(_shape("hubert"))
    add_head(encoder, ["ab cd"], seed=0)
    save(encoder, folder / "ours2")
    config = json.loads((folder / "ours2" / "config.json").read_text())
    older = {name: config[name] for name in (*_FORMAT_1, "head", "provenance")}
    copytree(folder / "ours2", folder / "ours1")
    (folder / "ours1" / "config.json").write_text(json.dumps(older | {"format_version": 1}))
    export_transformers(encoder, folder / "transformers")
    for name, shape in (("s3prl", encoder.shape), ("s3prl wavlm", _shape("wavlm"))):
        (folder / name).mkdir()
        s3prl_file(shape, folder / name / "model.pt")
    (folder / "torchaudio").mkdir()
    torch.save(_torchaudio(encoder), folder / "torchaudio" / "model.pt")
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
    _write_whisper(folder)
    options = ExportOptions(speech=Speech([torch.randn(RATE)], "noise"))
    (folder / "onnx").mkdir()
    find_export_target("onnx").write(encoder, folder / "onnx" / "model.onnx", options)
    corpus = prepare_corpus("sid", folder / "sid" / "metadata.csv", folder / "corpus")
    score(encoder, "sid", data=corpus, output=folder / "record", device="cpu")
    rmtree(folder / "record" / ".work")


def _write_whisper(folder: Path) -> None:
    """Write a small Whisper model in the formats of transformers and of this package."""
    transformers = importlib.import_module("transformers")
    tokens = {"pad_token_id": 0, "bos_token_id": 0, "eos_token_id": 0, "decoder_start_token_id": 1}
    config = transformers.WhisperConfig(
        vocab_size=20,
        num_mel_bins=8,
        d_model=16,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
        max_source_positions=20,
        max_target_positions=16,
        begin_suppress_tokens=None,
        **tokens,
    )
    model = transformers.WhisperForConditionalGeneration(config)
    model.generation_config = transformers.GenerationConfig(**tokens, alignment_heads=[[0, 1]])
    model.save_pretrained(folder / "whisper1")
    whisper.save(whisper.load(folder / "whisper1"), folder / "whisper2")


def _shape(family: Literal["hubert", "wavlm"]) -> EncoderShape:
    return dense_shape(
        family,
        hidden=16,
        layers=2,
        heads=2,
        ffn=8,
        conv_widths=(4,) * 7,
        position_kernel=4,
        position_groups=2,
    )


def _torchaudio(encoder: SpeechEncoder) -> dict[str, Any]:
    """Return the content of a file in torchaudio's format, as DPHuBERT writes it."""
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
    state = {"aux.weight": torch.zeros(3, 16), "aux.bias": torch.zeros(3)}
    for name, tensor in encoder.state_dict().items():
        renamed = re.sub(r"^encoder\.", "encoder.transformer.", name)
        renamed = re.sub(r"^feature_projection\.", "encoder.feature_projection.", renamed)
        if not name.startswith("head."):
            state[renamed] = tensor
    return {"config": config, "state_dict": state, "labels": ["-", "a", "b"]}


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
