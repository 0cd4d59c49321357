"""Files that are refused: foreign pickles, code, other formats."""

from __future__ import annotations

import pickle
import sys
import types
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from .files import refused


def _pickle_of_foreign_class(path: Path, module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write a checkpoint with an object whose module does not exist when it is read."""
    for depth in range(1, module.count(".") + 2):
        name = ".".join(module.split(".")[:depth])
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    foreign = type("Dictionary", (), {"__module__": module})
    sys.modules[module].Dictionary = foreign  # type: ignore[attr-defined]
    torch.save({"cfg": {}, "model": {}, "task_state": {"dictionaries": [foreign()]}}, path)
    monkeypatch.undo()


def test_original_fairseq_files_are_sent_to_the_converter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "hubert.pt"
    _pickle_of_foreign_class(path, "fairseq.data.dictionary", monkeypatch)
    refused(path, "fairseq", "s3prl.upstream.hubert.convert", "--output_dir", "wav2vec2.convert")
    # wav2vec2's hold no classes but an argparse.Namespace, or nothing at all.
    torch.save({"args": None, "model": {}, "optimizer_history": []}, path)
    refused(path, "fairseq", "s3prl.upstream.hubert.convert")
    torch.save({"cfg": {"task": {}, "model": {"_name": "wav2vec2"}}, "model": {}}, path)
    refused(path, "fairseq", "s3prl.upstream.hubert.convert")


def test_foreign_classes_are_not_unpickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model.ckpt"
    _pickle_of_foreign_class(path, "some_project.things", monkeypatch)
    refused(path, "some_project.things", "refused")


def test_code_in_a_pickle_is_not_run(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "ran",))

    path = tmp_path / "model.pt"
    torch.save({"cfg": {}, "model": Trap()}, path)
    refused(path)
    path.write_bytes(pickle.dumps(Trap()))
    refused(path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("content", [b"", b"hi\n", b"PK not a zip"])
def test_files_of_something_else(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    path.write_bytes(content)
    assert str(path) in refused(path, "model.pt")


def test_other_things_say_what_was_found(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    torch.save({"epoch": 1, "optimizer": {}}, path)
    refused(path, "epoch, optimizer", "accepted are")
    torch.save([1, 2], path)
    refused(path, "a list", "accepted are")
    torch.save({"config": {"hidden": 3}, "state_dict": {}}, path)
    refused(path, "config", "wav2vec2_model")
    path.write_bytes(b"not a checkpoint")
    refused(path)
    path.write_bytes(b"")
    refused(path)
    text = tmp_path / "notes.txt"
    text.write_text("hello")
    refused(text, ".txt", "accepted are")
    refused(tmp_path / "nothing.pt", "no such file or folder")
    refused("checkpoints/nothing.pt", "no such file or folder")


def test_an_archive_with_a_damaged_name_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model/ä.pkl", b"x")  # its name is marked as UTF-8
    path.write_bytes(path.read_bytes().replace("ä".encode(), b"\xe5x"))
    refused(path)


@pytest.mark.parametrize(
    ("tensor", "words"),
    [
        (torch.ones(2, 2).to_sparse(), "sparse"),
        (torch.ones(2, 2, device="meta"), "holds no numbers"),
    ],
)
def test_tensors_without_a_storage_are_refused(
    tensor: torch.Tensor, words: str, tmp_path: Path
) -> None:
    path = tmp_path / "model.pt"
    torch.save({"model_cfg": {"label_rate": 50}, "model_weight": {"mask_emb": tensor}}, path)
    refused(path, "mask_emb", words)


@pytest.mark.parametrize("name", ["model_cfg", "task_cfg"])
def test_settings_that_are_no_settings_are_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    endless: list[Any] = []
    endless.append(endless)
    for value, words in (
        (torch.ones(2), "is a Tensor, not a dictionary"),
        ([1], "is a list, not a dictionary"),
        ({"encoder_layers": [torch.ones(1).expand(2**40)]}, "holds a tensor"),
        ({"encoder_layers": endless}, "holds more than 100000 values"),
    ):
        torch.save({"model_cfg": {}, "model_weight": {}} | {name: value}, path)
        refused(path, name, words)
