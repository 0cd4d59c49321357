"""An export target is one file in the package of exporters; nothing else has to name it."""

from __future__ import annotations

from pathlib import Path

import pytest

from s3prl_compress.cli import app as cli
from s3prl_compress.encoder import NAMED_SHAPES, exporters, random_encoder, save

SHAPE_TARGET = '''
"""Export of the shape alone."""

from pathlib import Path

from s3prl_compress.encoder.exporters import ExportTarget


class ShapeTarget(ExportTarget):
    name = "shape"
    summary = "the shape as JSON"

    def check_output(self, output):
        pass

    def write(self, encoder, output, options):
        output.mkdir()
        (output / "shape.json").write_text(encoder.shape.model_dump_json())

    def next_step(self, encoder, output):
        return f"read: {output}/shape.json"


TARGET = ShapeTarget()
'''


def test_a_target_is_one_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "shape_alone.py").write_text(SHAPE_TARGET)
    monkeypatch.setattr(exporters, "__path__", [*exporters.__path__, str(tmp_path / "more")])
    encoder = random_encoder(NAMED_SHAPES["hubert_tiny"])
    model = save(encoder, tmp_path / "tiny")
    assert cli.main(["ls", "formats"]) == 0
    assert "the shape as JSON" in capsys.readouterr().out
    output = tmp_path / "out"
    assert cli.main(["export", str(model), "--format", "shape", "--output", str(output)]) == 0
    assert f"read: {output}/shape.json" in capsys.readouterr().out
    assert (output / "shape.json").read_text() == encoder.shape.model_dump_json()
