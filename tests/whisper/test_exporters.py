"""Whole Whisper models written for other runtimes, and run by them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from s3prl_compress.cli import main
from s3prl_compress.common.errors import InputError
from s3prl_compress.encoder.exported import StateError
from s3prl_compress.encoder.exported.runtimes import openvino_core
from s3prl_compress.encoder.exporters import Speech
from s3prl_compress.encoder.exporters import onnx as encoder_onnx
from s3prl_compress.whisper import Whisper, compress, load, save
from s3prl_compress.whisper.exporters import whisper_targets
from s3prl_compress.whisper.exporters.ctranslate2 import padded_share
from s3prl_compress.whisper.exporters.target import FACTS_FILE
from s3prl_compress.whisper.tokenizer import feature_extractor

from .talking import WINDOW, talking_folder

FORMATS = ("ctranslate2", "onnx", "openvino")
for _module in FORMATS:
    pytest.importorskip(_module, reason=f"{_module} is not installed")

SMALLER: dict[str, tuple[str, dict[str, Any]]] = {
    "folded": ("clustering", {"sparsity": 0.3}),
    "unequal units": ("magnitude", {"sparsity": 0.3}),
    "unequal heads": ("magnitude", {"sparsity": 0.2, "units": "head"}),
    "fewer layers": ("layers", {"keep": 1}),
}
NEW_TOKENS = 12

Tokens = list[list[int]]


@pytest.fixture(scope="module")
def whisper(tmp_path_factory: pytest.TempPathFactory) -> Whisper:
    folder = tmp_path_factory.mktemp("talking") / "tiny"
    return load(talking_folder(folder, 5, decoder_attention_heads=4))


def noise(seed: int = 0) -> torch.Tensor:
    samples = round(WINDOW * 16_000)
    return 0.1 * torch.randn(samples, generator=torch.Generator().manual_seed(seed))


def write(
    whisper: Whisper, output: Path, format: str, dtype: str = "float32", **options: Any
) -> StateError:
    speech = Speech([noise()], "noise")
    given = {"dense": False, "error_limit": 0.2, **options}
    return whisper_targets()[format].write(whisper, output, dtype=dtype, speech=speech, **given)


def features_of(whisper: Whisper) -> np.ndarray[Any, Any]:
    """Return the features of four recordings."""
    extractor: Any = feature_extractor(whisper, "it")
    waves = [noise(seed).numpy() for seed in range(1, 5)]
    return np.array(extractor(waves, sampling_rate=16_000, return_tensors="np")["input_features"])


def prompt_of(whisper: Whisper) -> list[int]:
    generation: Any = whisper.model.generation_config
    return [
        generation.decoder_start_token_id,
        generation.lang_to_id["<|en|>"],
        generation.task_to_id["transcribe"],
        generation.no_timestamps_token_id,
    ]


def by_transformers(whisper: Whisper) -> Tokens:
    model: Any = whisper.model
    tokens = model.generate(
        torch.from_numpy(features_of(whisper)),
        language="en",
        task="transcribe",
        max_new_tokens=NEW_TOKENS,
        return_timestamps=False,
    ).tolist()
    left_out = {*prompt_of(whisper), model.generation_config.eos_token_id}
    return [[token for token in own if token not in left_out] for own in tokens]


def by_ctranslate2(whisper: Whisper, folder: Path) -> Tokens:
    import ctranslate2

    runtime = ctranslate2.models.Whisper(str(folder), device="cpu")
    written = runtime.generate(
        ctranslate2.StorageView.from_array(features_of(whisper)),
        [prompt_of(whisper)] * 4,
        beam_size=1,
        max_length=2 * NEW_TOKENS,  # of which it takes half for the text
        suppress_tokens=whisper.model.generation_config.suppress_tokens,
    )
    return [one.sequences_ids[0] for one in written]


def greedy(
    whisper: Whisper, states: Any, logits: Callable[[np.ndarray[Any, Any]], np.ndarray[Any, Any]]
) -> Tokens:
    """Decode with a function from tokens [batch, tokens] to logits [batch, tokens, vocabulary]."""
    generation: Any = whisper.model.generation_config
    tokens = np.array([prompt_of(whisper)] * len(states))
    for step in range(NEW_TOKENS):
        scores = logits(tokens)[:, -1]
        scores[:, generation.suppress_tokens] = -np.inf
        if step == 0:
            scores[:, generation.begin_suppress_tokens] = -np.inf
        tokens = np.concatenate([tokens, scores.argmax(-1)[:, None]], axis=1)
    end, texts = generation.eos_token_id, tokens[:, len(prompt_of(whisper)) :].tolist()
    return [own[: own.index(end)] if end in own else own for own in texts]


def by_onnxruntime(whisper: Whisper, folder: Path) -> Tokens:
    import onnxruntime

    encoder, decoder = (
        onnxruntime.InferenceSession(folder / f"{part}_model.onnx")
        for part in ("encoder", "decoder")
    )
    (states,) = encoder.run(None, {"input_features": features_of(whisper)})
    return greedy(
        whisper,
        states,
        lambda tokens: decoder.run(None, {"input_ids": tokens, "encoder_hidden_states": states})[0],
    )


def by_openvino(whisper: Whisper, folder: Path) -> Tokens:
    encoder, decoder = (
        openvino_core().compile_model(
            folder / f"openvino_{part}_model.xml", "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
        )
        for part in ("encoder", "decoder")
    )
    states = encoder({"input_features": features_of(whisper)})[0]
    return greedy(
        whisper,
        states,
        lambda tokens: decoder({"input_ids": tokens, "encoder_hidden_states": states})[0].copy(),
    )


BY = {"ctranslate2": by_ctranslate2, "onnx": by_onnxruntime, "openvino": by_openvino}


@pytest.mark.parametrize(
    ("format", "shape"),
    [
        *(("ctranslate2", shape) for shape in ("dense", *SMALLER)),
        *(("onnx", shape) for shape in ("dense", "unequal units", "unequal heads")),
        ("openvino", "unequal heads"),
    ],
)
def test_every_shape_writes_the_same_tokens(
    format: str, shape: str, whisper: Whisper, tmp_path: Path
) -> None:
    if shape != "dense":
        method, settings = SMALLER[shape]
        whisper = compress(whisper, method, **settings)
    before = {name: own.clone() for name, own in whisper.model.state_dict().items()}
    error = write(whisper, tmp_path / "out", format)
    assert error.mean < 1e-4
    expected = by_transformers(whisper)
    assert all(expected)
    assert BY[format](whisper, tmp_path / "out") == expected
    for name, own in whisper.model.state_dict().items():
        assert torch.equal(own, before[name])


def test_ctranslate2_needs_heads_of_one_size(whisper: Whisper) -> None:
    for shape, (method, settings) in SMALLER.items():
        share = padded_share(compress(whisper, method, **settings))
        assert (share > 0) == (shape != "fewer layers")
    assert padded_share(whisper) == 0


@pytest.mark.parametrize("format", FORMATS)
def test_number_formats_are_measured(format: str, whisper: Whisper, tmp_path: Path) -> None:
    target = whisper_targets()[format]
    dtypes = [dtype for dtype in target.dtypes if dtype != "float16"]
    if "BF16" not in openvino_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        dtypes.remove("bfloat16")
    sizes, errors = [], []
    for dtype in dtypes:
        errors.append(write(whisper, tmp_path / dtype, format, dtype).mean)
        sizes.append(sum(file.stat().st_size for file in (tmp_path / dtype).iterdir()))
    assert sizes == sorted(sizes, reverse=True)
    assert errors == sorted(errors)
    assert errors[-1] > 1e-3
    facts = json.loads((tmp_path / dtypes[-1] / FACTS_FILE).read_text())
    assert facts["error"]["mean"] == errors[-1]
    with pytest.raises(InputError, match=r"not written: in .* above the limit of 1e-09"):
        write(whisper, tmp_path / "refused", format, dtypes[-1], error_limit=1e-9)
    assert not (tmp_path / "refused").exists()


def test_low_rank_linears_become_dense_ones_where_the_format_needs_it(
    whisper: Whisper, tmp_path: Path
) -> None:
    factored = compress(whisper, "low_rank", sparsity=0.2)
    expected = by_transformers(factored)
    with pytest.raises(InputError, match=r"has no low-rank linears.*give --dense"):
        write(factored, tmp_path / "out", "ctranslate2")
    assert write(factored, tmp_path / "out", "ctranslate2", dense=True).mean < 1e-4
    assert by_ctranslate2(factored, tmp_path / "out") == expected
    write(factored, tmp_path / "onnx", "onnx")
    assert by_onnxruntime(factored, tmp_path / "onnx") == expected


def test_weights_beyond_the_limit_of_a_file_go_into_a_second_one(
    whisper: Whisper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoder_onnx, "LARGEST", 10_000)
    write(whisper, tmp_path / "out", "onnx")
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"encoder_model.onnx", "encoder_model.onnx_data", "decoder_model.onnx_data"} <= names
    assert by_onnxruntime(whisper, tmp_path / "out") == by_transformers(whisper)
    with pytest.raises(InputError, match=r"more than 2 GiB .* --format ctranslate2"):
        write(whisper, tmp_path / "int8", "onnx", "int8")


def test_the_command_writes_what_faster_whisper_reads(
    whisper: Whisper, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, output = tmp_path / "model", tmp_path / "out"
    save(compress(whisper, "magnitude", sparsity=0.3), source)
    command = ["export", str(source), "--format", "ctranslate2", "--output", str(output)]
    assert main(command) == 0
    out = capsys.readouterr().out
    assert "relative error of the encoder's output" in out
    assert "of the attention weights are zeros" in out
    names = {path.name for path in output.iterdir()}
    assert {"model.bin", "config.json", "tokenizer.json", "preprocessor_config.json"} <= names
    assert any(name.startswith("vocabulary.") for name in names)
    assert main(command) == 0  # an earlier export is replaced
    for wrong, message in (
        (["--states", "last"], "takes no --states"),
        (["--dtype", "int8", "--error-limit", "-1"], "must be above 0"),
        (["--dtype", "int8_bfloat16"], "is written as float32 or float16 or bfloat16 or int8"),
    ):
        assert main([*command, *wrong]) == 2
        assert message in capsys.readouterr().err
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine")
    assert main([*command[:-1], str(tmp_path / "other")]) == 2
    assert "not an earlier export" in capsys.readouterr().err


def test_the_command_writes_encoders_and_whole_models_in_one_format(
    whisper: Whisper, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save(whisper, tmp_path / "model")
    command = ["export", str(tmp_path / "model"), "--format", "onnx", "--output"]
    assert main([*command, str(tmp_path / "out")]) == 0
    assert (tmp_path / "out" / "decoder_model.onnx").is_file()
    capsys.readouterr()
    command = ["export", "hubert_demo", "--format", "ctranslate2", "--output", str(tmp_path / "x")]
    assert main(command) == 2
    assert "not a Whisper model" in capsys.readouterr().err


def test_tokens_without_a_name_are_time_stamps(whisper: Whisper, tmp_path: Path) -> None:
    write(whisper, tmp_path / "out", "ctranslate2")
    (file,) = (tmp_path / "out").glob("vocabulary.*")
    tokens = json.loads(file.read_text())
    assert len(tokens) == whisper.shape.vocabulary
    assert len(set(tokens)) == len(tokens)
    assert tokens[-1] == f"<|{WINDOW:.2f}|>"
