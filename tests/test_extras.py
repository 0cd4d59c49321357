"""What works without the extras, and what features say that need one.

The commands run in one process in which no module of an extra can be imported.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile

from s3prl_compress.common.errors import InputError
from s3prl_compress.common.extras import MODULES, require_extra
from s3prl_compress.encoder import NAMED_SHAPES, random_encoder, save
from s3prl_compress.training.ctc import add_head

QUICK = Path(__file__).parent / "quick.yaml"
SUITE = Path(__file__).parent / "small_suite.yaml"

SCRIPT = """
import io, json, sys
from contextlib import redirect_stderr, redirect_stdout

blocked, commands = json.loads(sys.argv[1])
# To `import` and to `find_spec`, such a module is not installed.
sys.modules |= dict.fromkeys(blocked)
from s3prl_compress import cli

results = []
for command in commands:
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        try:
            code = cli.main(command)
        except SystemExit as stop:
            code = stop.code or 0
    results.append((code, err.getvalue()))
print(json.dumps(results))
"""


def run_without_extras(folder: Path, *commands: str) -> list[tuple[int, str]]:
    """Return exit code and standard error of each command."""
    blocked = [name for modules in MODULES.values() for name in modules]
    given = json.dumps([blocked, [command.split() for command in commands]])
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, given],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [(code, text) for code, text in json.loads(done.stdout.splitlines()[-1])]


def test_compressing_and_scoring_need_no_extra(tmp_path: Path) -> None:
    commands = (
        "--help",
        "compress --method distill --help",
        "ls methods",
        "random hubert_tiny --output tiny",
        "inspect tiny",
        "compress tiny --method clustering --sparsity 0.1 --output fold10",
        "compress fold10 --method magnitude --sparsity 0.2 --output both",
        "export both --format transformers --output exported --dense",
        "prepare ks demo --output demo",
        f"score both --task ks --data demo --recipe {QUICK} --output results",
    )
    for command, (code, text) in zip(
        commands, run_without_extras(tmp_path, *commands), strict=True
    ):
        assert code == 0, f"{command}: {text}"
    assert list((tmp_path / "results").glob("*.json"))


def test_a_feature_names_the_extra_that_it_needs(tmp_path: Path) -> None:
    (tmp_path / "speech").mkdir()
    soundfile.write(tmp_path / "speech" / "one.wav", [0.1, -0.1] * 8000, 16_000)
    (tmp_path / "recipe.yaml").write_text("{}\n")
    (tmp_path / "speech.csv").write_text("file,text\nspeech/one.wav,a\n")
    encoder = random_encoder(NAMED_SHAPES["hubert_tiny"])
    add_head(encoder, ["a b"], seed=0)
    save(encoder, tmp_path / "tuned")
    train = "needs accelerate, matplotlib, tensorboardX; install with: pip install "
    report = "needs jinja2, matplotlib; install with: pip install 's3prl_compress[report]'\n"
    expected = {
        "compress hubert_demo --method distill --audio speech --steps 2 --output out": (
            f"error: method distill {train}'s3prl_compress[train]'\n"
        ),
        "pretrain recipe.yaml --data speech --output out": (
            f"error: pretrain {train}'s3prl_compress[train]'\n"
        ),
        "score hubert_demo --task ks --data demo --engine s3prl --output out": (
            f"error: engine s3prl {train}'s3prl_compress[train]'\n"
        ),
        "export hubert_demo --format onnx --output out/demo.onnx": (
            "error: format onnx needs onnx, onnxruntime, onnxscript; "
            "install with: pip install 's3prl_compress[onnx]'\n"
        ),
        "export hubert_demo --format openvino --output out": (
            "error: format openvino needs onnx, onnxscript, openvino, nncf; "
            "install with: pip install 's3prl_compress[openvino]'\n"
        ),
        "report out": f"error: report {report}",
        "score tuned --task ctc --data speech.csv --lm lm.arpa --output out": (
            "error: decoding with a language model needs flashlight, kenlm; install with: "
            "pip install 's3prl_compress[lm]'\n"
        ),
        f"run {SUITE} --output out": f"error: the leaderboard of a suite {report}",
    }
    results = run_without_extras(tmp_path, *expected)
    assert results == [(2, text) for text in expected.values()]
    assert not (tmp_path / "out").exists()


def test_installed_extras_are_not_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    require_extra("report", "report")
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(InputError, match=r"^report needs jinja2; install with: .*\[report\]'$"):
        require_extra("report", "report")
