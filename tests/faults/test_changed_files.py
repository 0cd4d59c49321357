"""Files that change or vanish while they are used: one line that names them, and no result."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest
import yaml

from s3prl_compress import compress
from s3prl_compress.cli import app as cli
from s3prl_compress.common.errors import InputError
from s3prl_compress.encoder import NAMED_SHAPES, random_encoder, save
from s3prl_compress.evaluation import onepass, score
from s3prl_compress.methods import structured
from s3prl_compress.tasks.base.engine import WORK_FOLDER
from s3prl_compress.tasks.ctc import emissions
from s3prl_compress.tasks.ks.corpus import KeywordCorpus
from s3prl_compress.training.ctc import add_head

from ..suite.conftest import in_process

__all__ = ["in_process"]

QUICK = Path(__file__).parent.parent / "quick.yaml"
CHANGED = "has changed while it was in use; run the same command again when it no longer changes"


@pytest.fixture
def corpus(tiny_digits_corpus: Path, tmp_path: Path) -> Path:
    return copytree(tiny_digits_corpus, tmp_path / "corpus")


def recording(corpus: Path) -> Path:
    return sorted((corpus / "speech_commands").rglob("*.wav"))[0]


def change(path: Path) -> None:
    """Flip one bit; the size stays."""
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def after(function: Callable[..., Any], what: Callable[[], None]) -> Callable[..., Any]:
    """Return the function, with something that happens when it has returned for the first time."""
    pending = [what]

    def called(*arguments: Any, **options: Any) -> Any:
        result = function(*arguments, **options)
        if pending:
            pending.pop()()
        return result

    return called


def arguments(corpus: Path, output: Path) -> dict[str, Any]:
    encoder = random_encoder(NAMED_SHAPES["hubert_tiny"])
    return {
        "source": encoder, "task": "ks", "data": corpus, "output": output, "recipe": QUICK,
        "device": "cpu", "name": "tiny",
    }  # fmt: skip


def test_a_change_while_features_are_computed(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = recording(corpus)
    reading = after(KeywordCorpus.read, lambda: change(path))
    monkeypatch.setattr(KeywordCorpus, "read", reading)
    with pytest.raises(InputError, match=CHANGED) as error:
        score(**arguments(corpus, tmp_path / "out"))
    assert str(error.value).startswith(f"{path}: ")
    kept = {file.suffix for file in (tmp_path / "out").rglob("*") if file.is_file()}
    assert kept == {".lock"}
    score(**arguments(corpus, tmp_path / "out"))


def test_a_change_while_heads_are_trained(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, before = recording(corpus), recording(corpus).read_bytes()
    wanted = score(**arguments(corpus, tmp_path / "undisturbed"))
    with monkeypatch.context() as patch:
        patch.setattr(onepass, "run", after(onepass.run, lambda: change(path)))
        with pytest.raises(InputError, match=CHANGED):
            score(**arguments(corpus, tmp_path / "out"))
    assert not list((tmp_path / "out").glob("[!.]*"))
    assert not list((tmp_path / "out" / WORK_FOLDER).glob("tiny.ks.*.seed0.*[!k]"))
    path.write_bytes(before)  # the same content again, with another time
    found = score(**arguments(corpus, tmp_path / "out"))
    assert (found.score, found.corpus) == (wanted.score, wanted.corpus)


def test_a_touched_file_is_no_change(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = recording(corpus)
    monkeypatch.setattr(onepass, "run", after(onepass.run, path.touch))
    score(**arguments(corpus, tmp_path / "out"))


def test_a_suite_goes_on_without_a_corpus_that_loses_a_file(
    corpus: Path,
    tiny_digits_corpus: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    in_process: None,
) -> None:
    gone = sorted((corpus / "speech_commands_test").rglob("*.wav"))[-1]
    reading = after(KeywordCorpus.read, gone.unlink)
    monkeypatch.setattr(KeywordCorpus, "read", reading)
    tasks = [
        {"task": "ks", "data": str(data), "recipe": str(QUICK)}
        for data in (corpus, tiny_digits_corpus)
    ]
    suite = {
        "output": str(tmp_path / "out"),
        "upstreams": [{"name": "tiny", "random": {"shape": "hubert_tiny"}}],
        "tasks": tasks,
        "device": "cpu",
    }
    path = tmp_path / "suite.yaml"
    path.write_text(yaml.safe_dump(suite))
    assert cli.main(["run", str(path)]) == 1
    printed = capsys.readouterr().out
    assert f"failed: ks corpus tiny onepass seed 0: {gone}: cannot be read" in printed
    assert len(list((tmp_path / "out" / "records").glob("*.json"))) == 1


def test_audio_that_changes_during_training(
    tones: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    audio = copytree(tones, tmp_path / "audio")
    path = sorted(audio.rglob("*.wav"))[0]
    final = after(structured.final_distillation, lambda: change(path))
    monkeypatch.setattr(structured, "final_distillation", final)
    settings = {
        "audio": audio, "sparsity": 0.1, "steps": 1, "final_steps": 1, "batch_seconds": 1,
        "accumulation": 1, "workers": 0, "work": tmp_path / "work",
    }  # fmt: skip
    encoder = random_encoder(NAMED_SHAPES["hubert_tiny"])
    with pytest.raises(InputError, match=CHANGED) as error:
        compress(encoder, "structured", **settings)
    assert str(error.value).startswith(f"{path}: ")
    assert not (tmp_path / "work").exists()  # a state that has seen both contents


def test_a_test_set_that_changes_during_recognition(
    transcribed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    speech = copytree(transcribed / "test-clean", tmp_path / "test-clean")
    path = sorted(speech.rglob("*.flac"))[0]
    encoder = random_encoder(NAMED_SHAPES["hubert_tiny"])
    add_head(encoder, ["AB CD"], seed=0)
    model, output = save(encoder, tmp_path / "model"), tmp_path / "out"
    computing = after(emissions.compute_emissions, lambda: change(path))
    monkeypatch.setattr(emissions, "compute_emissions", computing)
    with pytest.raises(InputError, match=CHANGED) as error:
        score(model, "ctc", data=speech, output=output, device="cpu")
    assert str(error.value).startswith(f"{path}: ")
    assert not [file for file in output.rglob("*") if file.suffix in (".json", ".safetensors")]
