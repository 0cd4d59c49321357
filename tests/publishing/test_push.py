"""Only a checkpoint's own files are uploaded, privately unless asked otherwise."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest

from s3prl_compress import cli
from s3prl_compress.encoder import NAMED_SHAPES, fingerprint, load, random_encoder, save

FILES = ["README.md", "config.json", "model.safetensors", "modeling_s3prl_compress.py"]
FILES += ["preprocessor_config.json"]


@pytest.fixture(name="folder")
def _folder(tmp_path: Path) -> Path:
    folder = save(random_encoder(NAMED_SHAPES["hubert_tiny"]), tmp_path / "model")
    (folder / "README.md").write_text("---\nlicense: mit\n---\n# tiny\n")
    (folder / "optimizer.pt").write_bytes(b"a pickle")
    (folder / ".token").write_text("secret")
    return folder


class Hub:
    """Stands for `HfApi`: keeps what it is asked, or fails."""

    asked: list[dict[str, Any]]
    error: Exception | None = None

    def create_repo(self, name: str, **options: Any) -> None:
        if self.error is not None:
            raise self.error
        self.asked.append({"name": name, **options})

    def upload_folder(self, **options: Any) -> SimpleNamespace:
        self.asked.append(options)
        return SimpleNamespace(oid="0123abc")


@pytest.fixture(name="hub")
def _hub(monkeypatch: pytest.MonkeyPatch) -> type[Hub]:
    monkeypatch.setattr(Hub, "asked", [], raising=False)
    monkeypatch.setattr(huggingface_hub, "HfApi", Hub)
    return Hub


def test_a_dry_run_writes_what_would_be_uploaded(
    folder: Path, hub: type[Hub], capsys: pytest.CaptureFixture[str]
) -> None:
    output = folder.parent / "upload"
    assert cli.main(["push", str(folder), "me/tiny", "--dry-run", str(output)]) == 0
    assert sorted(path.name for path in output.iterdir()) == FILES
    assert fingerprint(load(output)) == fingerprint(load(folder))
    assert "left out: .token, optimizer.pt" in capsys.readouterr().out
    assert hub.asked == []
    assert cli.main(["push", str(folder), "me/tiny", "--dry-run", str(output)]) == 2
    assert "exists and is not empty" in capsys.readouterr().err


def test_uploads_are_private_and_print_the_revision(
    folder: Path, hub: type[Hub], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["push", str(folder), "me/tiny"]) == 0
    created, uploaded = hub.asked
    assert created == {"name": "me/tiny", "private": True, "exist_ok": True}
    assert uploaded["allow_patterns"] == FILES
    assert "revision 0123abc" in capsys.readouterr().out
    assert cli.main(["push", str(folder), "me/tiny", "--public"]) == 0
    assert hub.asked[2]["private"] is False


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / "README.md").unlink(), "has no model card; write one with"),
        (lambda folder: (folder / "config.json").unlink(), "not a checkpoint folder"),
        (
            lambda folder: (folder / "model.safetensors").write_bytes(b"half of it"),
            "truncated or not safetensors",
        ),
    ],
)
def test_what_is_not_whole_is_not_uploaded(
    folder: Path, hub: type[Hub], spoil: Any, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil(folder)
    assert cli.main(["push", str(folder), "me/tiny"]) == 2
    assert message in capsys.readouterr().err
    assert hub.asked == []


def test_a_refusal_is_one_line(
    folder: Path,
    hub: type[Hub],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(hub, "error", RuntimeError("401 Unauthorized\nfor url"))
    assert cli.main(["push", str(folder), "me/tiny"]) == 2
    error = capsys.readouterr().err
    assert "me/tiny: could not be uploaded (401 Unauthorized); log in" in error
    assert error.count("\n") == 1
    assert cli.main(["push", str(folder), "tiny"]) == 2
    assert "OWNER/NAME" in capsys.readouterr().err
