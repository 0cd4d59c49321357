"""`export` for runtimes, and the commands that take an exported model in place of a checkpoint."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import yaml

from s3prl_compress.cli import app as cli
from s3prl_compress.common.errors import InputError
from s3prl_compress.encoder import cost, load, save
from s3prl_compress.encoder.exported import ExportedEncoder, exported_runtime, load_exported
from s3prl_compress.encoder.exporters import ExportOptions, find_export_target
from s3prl_compress.evaluation import score, score_seeds
from s3prl_compress.latency import time_upstreams
from s3prl_compress.report.leaderboard import leaderboard
from s3prl_compress.results.records import ScoreRecord, TimeRecord, read_records
from s3prl_compress.suite.models import kind_of_model
from s3prl_compress.suite.suite_file import UpstreamEntry
from s3prl_compress.suite.upstreams import load_upstream, make_upstream

from ...support.letters import write_letters
from .models import tuned_encoder

for _module in ("onnx", "onnxruntime", "onnxscript"):
    pytest.importorskip(_module, reason="the extra onnx is not installed")

QUICK = Path(__file__).parents[2] / "quick.yaml"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tuned_encoder(), tmp_path_factory.mktemp("model") / "tuned")


@pytest.fixture(scope="module")
def file(folder: Path, tones: Path) -> Path:
    output = folder.parent / "tuned.int8.onnx"
    arguments = ["--format", "onnx", "--dtype", "int8", "--audio", str(tones), "--error-limit", "1"]
    assert cli.main(["export", str(folder), *arguments, "--output", str(output)]) == 0
    return output


def test_export_reports_the_error(
    folder: Path, tones: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "tuned.onnx"
    arguments = ["--format", "onnx", "--audio", str(tones), "--output", str(output), "--json"]
    assert cli.main(["export", str(folder), *arguments]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["bytes"] == output.stat().st_size
    assert data["state_error"]["mean"] < 1e-5
    assert data["state_error"]["audio"].endswith(f"s, of {tones.name}")
    config = load_exported(output).config
    assert config.error is not None
    assert data["state_error"] == config.error.model_dump(mode="json")


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert cli.main([str(argument) for argument in arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    (line,) = error.splitlines()
    return line


def test_mistakes_get_one_line(
    folder: Path, file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    common = ("--output", out)
    assert "takes no --audio; leave that out" in refused(
        capsys, "export", folder, "--format", "checkpoint", "--audio", tmp_path, *common
    )
    assert "error-limit 0: must be above 0" in refused(
        capsys, "export", folder, "--format", "onnx", "--error-limit", "0", *common
    )
    assert "give a name in .onnx" in refused(capsys, "export", folder, "--format", "onnx", *common)
    assert "an exported model, which can be scored, timed and inspected only" in refused(
        capsys, "compress", file, "--method", "magnitude", "--sparsity", "0.1", *common
    )
    assert "an exported model" in refused(capsys, "export", file, "--format", "checkpoint", *common)
    assert "computes in int8 whatever dtype says" in refused(
        capsys, "time", file, "--dtype", "bfloat16", "--device", "cpu"
    )
    score_it = ("score", file, "--task", "ks", "--data", "demo", *common)
    assert "has independent padding" in refused(capsys, *score_it, "--padding", "fairseq")
    assert "normalises waveforms, as it was exported" in refused(
        capsys, *score_it, "--normalize", "no"
    )
    assert not out.exists()


def test_inspect_shows_the_runtime(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["inspect", str(file), "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert (data["runtime"], data["dtype"], data["ctc_vocabulary"]) == ("onnxruntime", "int8", 4)
    assert data["layers"] == 2
    assert data["bytes"] == file.stat().st_size


def test_scores_are_those_of_the_encoder_but_for_the_error(
    folder: Path, file: Path, tiny_corpus: Path, tmp_path: Path
) -> None:
    options = {"data": tiny_corpus, "recipe": QUICK, "output": tmp_path, "device": "cpu"}
    records = score_seeds(file, "ks", seeds=(0, 1), **options)  # type: ignore[arg-type]
    (dense, _) = score_seeds(folder, "ks", seeds=(0, 1), **options)  # type: ignore[arg-type]
    record = records[0]
    assert record.upstream.name == "tuned.int8.onnx"
    assert record.upstream.runtime is not None
    assert record.upstream.runtime.dtype == "int8"
    assert record.padding == "independent"
    assert record.upstream.checkpoint_sha256 != dense.upstream.checkpoint_sha256
    assert any("in int8, with a state error of" in note for note in record.notes)
    assert abs(record.score - dense.score) < 50
    found = [one for _, one in read_records(tmp_path) if isinstance(one, ScoreRecord)]
    assert record in found
    rows = {row.upstream: row for row in leaderboard(found)}
    assert rows["tuned"].reference
    assert rows["tuned.int8.onnx"].methods == "onnxruntime(dtype=int8)"
    assert rows["tuned.int8.onnx"].bytes == file.stat().st_size


def test_its_ctc_head_recognises_as_in_pytorch(folder: Path, tmp_path: Path) -> None:
    write_letters(tmp_path / "letters")
    # In float32: near ties of random logits would be decided by quantisation.
    file = tmp_path / "tuned.onnx"
    find_export_target("onnx").write(load(folder), file, ExportOptions())
    options = {"data": tmp_path / "letters", "output": tmp_path / "results", "device": "cpu"}
    exported = score(file, "ctc", **options)  # type: ignore[arg-type]
    dense = score(folder, "ctc", **options)  # type: ignore[arg-type]
    assert exported.upstream.source == str(file)
    assert exported.score == dense.score
    assert exported.other_metrics == dense.other_metrics


def test_time_compares_runtimes(file: Path, folder: Path) -> None:
    record = time_upstreams(
        file,
        folder,
        repeats=3,
        warmup=0,
        utterances_per_bucket=1,
        device="cpu",
        threads=1,
        lengths=[4000, 5000, 6000, 7000],
    )
    assert isinstance(record, TimeRecord)
    assert record.upstream.runtime is not None
    assert record.against is not None
    assert record.against.runtime is None
    assert all(bucket.speedup for bucket in record.buckets)


def test_a_suite_takes_it_as_a_source(file: Path, tmp_path: Path) -> None:
    entry = UpstreamEntry(name="int8", source=str(file))
    upstream, _ = make_upstream(entry, None, tmp_path, "cpu")
    assert isinstance(upstream, ExportedEncoder)
    again = load_upstream(entry, tmp_path)
    assert isinstance(again, ExportedEncoder)
    assert again.fingerprint() == upstream.fingerprint()
    kind = kind_of_model(upstream)
    assert kind.parameters(upstream) == cost(upstream.config.shape).parameters
    assert kind.size(upstream).states == len(upstream.config.shape.layers) + 1
    smaller = {"name": "smaller", "from": "int8", "method": "magnitude"}
    with pytest.raises(InputError, match="which can be scored, timed and inspected only"):
        make_upstream(UpstreamEntry.model_validate(smaller), upstream, tmp_path, "cpu")


def test_a_suite_scores_its_ctc_head(
    file: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_letters(tmp_path / "letters")
    content = {
        "output": str(tmp_path / "out"),
        "upstreams": [
            {"name": "tuned", "source": str(folder)},
            {"name": "int8", "source": str(file)},
        ],
        "tasks": [{"task": "ctc", "data": str(tmp_path / "letters/test-clean")}],
        "device": "cpu",
        "threads": 1,
    }
    path = tmp_path / "suite.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    assert cli.main(["run", str(path)]) == 0
    assert "4 of 4 cells complete, 0 of them from earlier runs" in capsys.readouterr().out
    assert cli.main(["run", str(path), "--dry-run"]) == 0
    assert "2 2" in " ".join(capsys.readouterr().out.split())
    found = [one for _, one in read_records(tmp_path / "out/records")]
    assert sorted(one.upstream.name for one in found) == ["int8", "tuned"]


def _suite(folder: Path, output: Path, **export: object) -> Path:
    letters = output.parent / "letters"
    if not letters.exists():
        write_letters(letters)
    content = {
        "output": str(output),
        "upstreams": [
            {"name": "tuned", "source": str(folder)},
            {"name": "deployed", "from": "tuned", "export": export},
        ],
        "tasks": [{"task": "ctc", "data": str(letters / "test-clean")}],
        "time": {"against": "tuned", "repeats": 3, "warmup": 0, "utterances_per_bucket": 1},
        "device": "cpu",
        "threads": 1,
    }
    path = output.parent / "suite.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


def test_a_suite_exports_an_upstream(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    suite = _suite(folder, tmp_path / "out", format="onnx", dtype="int8", error_limit=1)
    assert cli.main(["run", str(suite)]) == 0
    assert "5 of 5 cells complete, 0 of them from earlier runs" in capsys.readouterr().out
    assert exported_runtime(tmp_path / "out" / "upstreams" / "deployed.onnx") == "onnxruntime"
    records = [one for _, one in read_records(tmp_path / "out" / "records")]
    deployed = [one.upstream for one in records if one.upstream.name == "deployed"]
    assert len(deployed) == 2
    for upstream in deployed:
        assert upstream.runtime is not None
        assert (upstream.runtime.name, upstream.runtime.dtype) == ("onnxruntime", "int8")
        assert upstream.runtime.state_error is not None
    assert cli.main(["run", str(suite)]) == 0
    assert "5 of 5 cells complete, 4 of them from earlier runs" in capsys.readouterr().out
    assert cli.main(["run", str(suite), "--dry-run"]) == 0
    assert "5 cells, 5 of them complete" in capsys.readouterr().out


def test_a_suite_says_what_cannot_be_exported(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    suite = _suite(folder, tmp_path / "out", format="onnx", dtype="bfloat16")
    assert cli.main(["run", str(suite)]) == 2
    expected = "upstream deployed: dtype bfloat16: ONNX Runtime has no such arithmetic"
    assert expected in capsys.readouterr().err
    content = yaml.safe_load(suite.read_text())
    content["upstreams"].append({"name": "more", "from": "deployed", "method": "magnitude"})
    suite.write_text(yaml.safe_dump(content))
    assert cli.main(["run", str(suite)]) == 2
    assert (
        "more: from: deployed is exported, so that it cannot be changed" in capsys.readouterr().err
    )
    assert not (tmp_path / "out").exists()


@pytest.mark.s3prl
def test_s3prl_takes_it_as_a_checkpoint(folder: Path, file: Path) -> None:
    from s3prl_compress.upstreams.compressed.expert import UpstreamExpert

    waveforms = [torch.randn(8000), torch.randn(300)]
    with torch.no_grad():
        ours = UpstreamExpert(str(file))(waveforms)["hidden_states"]
        theirs = UpstreamExpert(str(folder))(waveforms)["hidden_states"]
    assert [one.shape for one in ours] == [one.shape for one in theirs]
    assert len(ours) == len(load(folder).shape.layers) + 1
