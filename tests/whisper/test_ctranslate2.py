"""Whisper models written for CTranslate2, run by CTranslate2."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from s3prl_compress.cli import main
from s3prl_compress.common.errors import InputError
from s3prl_compress.encoder.exporters import Speech
from s3prl_compress.whisper import Whisper, compress, load, save
from s3prl_compress.whisper.ctranslate2 import FACTS_FILE, export_ctranslate2, padded_share
from s3prl_compress.whisper.tokenizer import feature_extractor

from .talking import WINDOW, talking_folder

ctranslate2 = pytest.importorskip("ctranslate2")

SMALLER: dict[str, tuple[str, dict[str, Any]]] = {
    "folded": ("clustering", {"sparsity": 0.3}),
    "unequal units": ("magnitude", {"sparsity": 0.3}),
    "unequal heads": ("magnitude", {"sparsity": 0.2, "units": "head"}),
    "fewer layers": ("layers", {"keep": 1}),
}


@pytest.fixture(scope="module")
def whisper(tmp_path_factory: pytest.TempPathFactory) -> Whisper:
    folder = tmp_path_factory.mktemp("talking") / "tiny"
    return load(talking_folder(folder, 5, decoder_attention_heads=4))


def noise(seed: int = 0) -> torch.Tensor:
    samples = round(WINDOW * 16_000)
    return 0.1 * torch.randn(samples, generator=torch.Generator().manual_seed(seed))


def write(whisper: Whisper, output: Path, dtype: str = "float32", **options: Any) -> Any:
    speech = Speech([noise()], "noise")
    given = {"dense": False, "error_limit": 0.2, **options}
    return export_ctranslate2(whisper, output, dtype=dtype, speech=speech, **given)


def texts(whisper: Whisper, folder: Path) -> tuple[list[list[int]], list[list[int]]]:
    """Return the greedy tokens of transformers and of CTranslate2 for four recordings."""
    extractor: Any = feature_extractor(whisper, "it")
    waves = [noise(seed).numpy() for seed in range(1, 5)]
    features = extractor(waves, sampling_rate=16_000, return_tensors="pt")["input_features"]
    model: Any = whisper.model
    generation = model.generation_config
    ours = model.generate(
        features, language="en", task="transcribe", max_new_tokens=20, return_timestamps=False
    ).tolist()
    prompt = [
        generation.decoder_start_token_id,
        generation.lang_to_id["<|en|>"],
        generation.task_to_id["transcribe"],
        generation.no_timestamps_token_id,
    ]
    runtime = ctranslate2.models.Whisper(str(folder), device="cpu")
    written = runtime.generate(
        ctranslate2.StorageView.from_array(features.numpy()),
        [prompt] * len(waves),
        beam_size=1,
        max_length=40,  # of which it takes half for the text
        suppress_tokens=generation.suppress_tokens,
    )
    end = generation.eos_token_id
    kept = [[token for token in own if token not in (*prompt, end)] for own in ours]
    return kept, [one.sequences_ids[0] for one in written]


@pytest.mark.parametrize("shape", ["dense", *SMALLER])
def test_every_shape_writes_the_same_tokens(shape: str, whisper: Whisper, tmp_path: Path) -> None:
    if shape != "dense":
        method, settings = SMALLER[shape]
        whisper = compress(whisper, method, **settings)
    before = {name: own.clone() for name, own in whisper.model.state_dict().items()}
    error = write(whisper, tmp_path / "out")
    assert error.mean < 1e-4
    ours, theirs = texts(whisper, tmp_path / "out")
    assert all(ours)
    assert theirs == ours
    for name, own in whisper.model.state_dict().items():
        assert torch.equal(own, before[name])
    assert (padded_share(whisper) > 0) == shape.startswith("unequal") or shape == "folded"


def test_number_formats_are_measured(whisper: Whisper, tmp_path: Path) -> None:
    sizes, errors = [], []
    for dtype in ("float32", "float16", "int8"):
        errors.append(write(whisper, tmp_path / dtype, dtype).mean)
        sizes.append((tmp_path / dtype / "model.bin").stat().st_size)
    assert sizes == sorted(sizes, reverse=True)
    assert errors == sorted(errors)
    facts = json.loads((tmp_path / "int8" / FACTS_FILE).read_text())
    assert facts["error"]["mean"] == errors[-1]
    with pytest.raises(InputError, match=r"not written: in int8.* above the limit of 1e-09"):
        write(whisper, tmp_path / "refused", "int8", error_limit=1e-9)
    assert not (tmp_path / "refused").exists()


def test_low_rank_linears_are_written_as_dense_ones_if_asked(
    whisper: Whisper, tmp_path: Path
) -> None:
    factored = compress(whisper, "low_rank", sparsity=0.2)
    with pytest.raises(InputError, match=r"has no low-rank linears.*give --dense"):
        write(factored, tmp_path / "out")
    assert write(factored, tmp_path / "out", dense=True).mean < 1e-4
    ours, theirs = texts(factored, tmp_path / "out")
    assert theirs == ours


def test_the_command_writes_what_faster_whisper_reads(
    whisper: Whisper, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, output = tmp_path / "model", tmp_path / "out"
    save(compress(whisper, "magnitude", sparsity=0.3), source)
    command = ["export", str(source), "--format", "ctranslate2", "--output", str(output)]
    assert main(command) == 0
    assert "relative error of the encoder's output" in capsys.readouterr().out
    names = {path.name for path in output.iterdir()}
    assert {"model.bin", "config.json", "tokenizer.json", "preprocessor_config.json"} <= names
    assert any(name.startswith("vocabulary.") for name in names)
    assert main(command) == 0  # an earlier export is replaced
    for wrong, message in (
        (["--states", "last"], "takes no --states"),
        (["--dtype", "int8", "--error-limit", "-1"], "must be above 0"),
    ):
        assert main([*command, *wrong]) == 2
        assert message in capsys.readouterr().err
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine")
    assert main([*command[:-1], str(tmp_path / "other")]) == 2
    assert "not an earlier export" in capsys.readouterr().err


def test_an_encoder_is_not_a_whisper_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["export", "hubert_demo", "--format", "ctranslate2", "--output", str(tmp_path / "x")]
    assert main(command) == 2
    assert "not a Whisper model" in capsys.readouterr().err


def test_tokens_without_a_name_are_time_stamps(whisper: Whisper, tmp_path: Path) -> None:
    write(whisper, tmp_path / "out")
    (file,) = (tmp_path / "out").glob("vocabulary.*")
    tokens = json.loads(file.read_text())
    assert len(tokens) == whisper.shape.vocabulary
    assert len(set(tokens)) == len(tokens)
    assert tokens[-1] == f"<|{WINDOW:.2f}|>"
