"""The command line, in process where that is possible."""

from __future__ import annotations

import json
import os
import re
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from s3prl_compress.cli import app as cli
from s3prl_compress.cli.console import TRACEBACK_VARIABLE
from s3prl_compress.cli.listing import LISTINGS
from s3prl_compress.version import __version__

QUICK = Path(__file__).parent / "quick.yaml"
TIME_FLAGS = ("--repeats", "3", "--warmup", "0", "--utterances-per-bucket", "1")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli") / "tiny"
    assert cli.main(["random", "hubert_tiny", "--output", str(folder)]) == 0
    return folder


def figures(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> dict[str, Any]:
    capsys.readouterr()
    assert cli.main([*map(str, arguments), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert isinstance(answer, dict)
    return answer


def complaint(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    capsys.readouterr()
    assert cli.main([*map(str, arguments)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert line.startswith("error: ")
    return line


@pytest.mark.parametrize(
    ("shape", "parameters", "macs"),
    [("hubert_base", 94371712, 1669e9), ("hubert_large", 315438720, 4324e9)],
)
def test_inspect_of_a_shape_gives_the_boards_counts(
    capsys: pytest.CaptureFixture[str], shape: str, parameters: int, macs: float
) -> None:
    answer = figures(capsys, "inspect", shape)
    assert answer["parameters"] == answer["nonzero_parameters"] == parameters
    assert answer["macs_32"] == pytest.approx(macs, rel=0.003)
    assert answer["bytes"] == 4 * parameters
    assert answer["board_macs_32"] == macs
    assert answer["board_parameters"] > parameters


def test_inspect_of_a_checkpoint_shows_its_history(
    capsys: pytest.CaptureFixture[str], checkpoint: Path
) -> None:
    answer = figures(capsys, "inspect", checkpoint)
    assert answer["random_weights"] is True
    assert answer["methods"] == []
    assert answer["parameters"] == figures(capsys, "inspect", "hubert_tiny")["parameters"]
    assert cli.main(["inspect", str(checkpoint)]) == 0
    assert answer["base"] in capsys.readouterr().out


@pytest.mark.parametrize("kind", LISTINGS)
def test_ls(capsys: pytest.CaptureFixture[str], kind: str) -> None:
    listed = figures(capsys, "ls", kind)[kind]
    first = listed[0]["name"]
    assert cli.main(["ls", kind]) == 0
    assert first in capsys.readouterr().out
    assert figures(capsys, "ls", kind, first)[kind][0]["name"] == first
    assert cli.main(["ls", kind, "--verbose"]) == 0
    assert "no-such-name" in complaint(capsys, "ls", kind, "no-such-name")


def test_ls_of_a_method_shows_its_settings(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["ls", "methods", "clustering"]) == 0
    out = capsys.readouterr().out
    assert "--sparsity" in out
    assert "fold|share" in out
    assert "Interspeech" in out


def test_compress(capsys: pytest.CaptureFixture[str], checkpoint: Path, tmp_path: Path) -> None:
    output = tmp_path / "fold10"
    answer = figures(
        capsys,
        *("compress", checkpoint, "--method", "clustering", "--sparsity", "0.1"),
        *("--output", output, "--threads", "1"),
    )
    assert answer["parameters"] == pytest.approx(0.9 * answer["before"]["parameters"], rel=0.01)
    assert answer["settings"]["sparsity"] == 0.1
    assert figures(capsys, "inspect", output)["parameters"] == answer["parameters"]


def test_methods_follow_one_another(
    capsys: pytest.CaptureFixture[str], checkpoint: Path, tmp_path: Path
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    channels = ("--method", "magnitude", "--units", "ffn,qk", "--sparsity=0.1")
    figures(capsys, "compress", checkpoint, *channels, "--output", first)
    figures(capsys, "compress", first, "--method", "low_rank", "--output", second)
    methods = figures(capsys, "inspect", second)["methods"]
    assert [line.partition("(")[0] for line in methods] == ["magnitude", "low_rank"]


def test_help_of_compress_shows_the_methods_settings(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["compress", "--method", "clustering", "--help"]) == 0
    out = capsys.readouterr().out
    assert "--sparsity" in out
    assert "ls methods NAME" in out


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_help_has_an_example(capsys: pytest.CaptureFixture[str], name: str) -> None:
    assert cli.main([name, "--help"]) == 0
    out = capsys.readouterr().out
    assert f"  s3prl-compress {name} " in out
    assert "--json" in out


@pytest.mark.parametrize("arguments", [[], ["-h"], ["--help"]])
def test_overview_names_every_command(
    capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    assert cli.main(arguments) == 0
    listed = re.findall(r"^  (\w+)  ", capsys.readouterr().out, re.MULTILINE)
    assert listed == list(cli.COMMANDS)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"s3prl-compress {__version__}\n"


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_help_fits_a_terminal_except_for_examples(
    capsys: pytest.CaptureFixture[str], name: str
) -> None:
    assert cli.main([name, "--help"]) == 0
    text = capsys.readouterr().out.partition("\n  Example")[0]
    assert max(map(len, text.splitlines())) <= 80


def test_prepare_of_the_demo(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    answer = figures(capsys, "prepare", "ks", "demo", "--output", tmp_path / "demo")
    assert answer["sizes"] == {"train": 345, "dev": 115, "test": 240}
    assert answer["generated"] is True
    assert len(answer["classes"]) == 12


def test_score_time_and_report(
    capsys: pytest.CaptureFixture[str], checkpoint: Path, tiny_corpus: Path, tmp_path: Path
) -> None:
    results = tmp_path / "results"
    command = ("score", checkpoint, "--task", "ks", "--data", tiny_corpus, "--recipe", QUICK)
    answer = figures(capsys, *command, "--output", results, "--threads", "1")
    assert answer["task"] == "ks"
    assert answer["engine"] == "onepass"
    assert answer["padding"] == "independent"
    assert 0 <= answer["score"] <= 100
    assert answer["standard_error"] >= 0
    assert answer["test_size"] == 48
    assert answer["learning_rate"] in (1e-2, 1e-3)
    assert Path(answer["record"]).is_file()
    written = Path(answer["record"]).stat().st_mtime_ns
    assert figures(capsys, *command, "--output", results) == answer
    assert Path(answer["record"]).stat().st_mtime_ns == written

    timed = figures(
        capsys, "time", checkpoint, "--against", checkpoint, *TIME_FLAGS, "--output", results
    )
    assert timed["rtfx"] > 0
    assert timed["interval"][0] <= timed["speedup"] <= timed["interval"][1]
    assert Path(timed["record"]).is_file()

    files = figures(capsys, "report", results)["files"]
    assert [Path(file).name for file in files] == [
        "leaderboard.md",
        "leaderboard.csv",
        "leaderboard.tex",
        "leaderboard.html",
    ]
    assert all(Path(file).is_file() for file in files)


def test_normalisation_is_an_option(
    capsys: pytest.CaptureFixture[str], checkpoint: Path, tiny_corpus: Path, tmp_path: Path
) -> None:
    compress = ("compress", checkpoint, "--method", "magnitude", "--output", tmp_path / "out")
    answer = figures(capsys, *compress, "--normalize", "yes")
    assert answer["normalize"] is True
    assert "GroupNorm" in answer["notes"][0]
    assert figures(capsys, "inspect", tmp_path / "out")["normalize"] is True
    score = ("score", tmp_path / "out", "--task", "ks", "--data", tiny_corpus, "--recipe", QUICK)
    said = {
        flags: figures(capsys, *score, *flags, "--output", tmp_path / "results")
        for flags in ((), ("--normalize", "no"))
    }
    assert [answer["normalize"] for answer in said.values()] == [True, False]
    assert [any("GroupNorm" in n for n in answer["notes"]) for answer in said.values()] == [
        True,
        False,
    ]
    timed = figures(
        capsys, "time", checkpoint, "--normalize", "yes", *TIME_FLAGS, "--output", tmp_path / "time"
    )
    record = json.loads(Path(timed["record"]).read_text())
    assert record["upstream"]["normalize"] is True
    assert "neither yes nor no" in complaint(capsys, *score, "--normalize", "maybe")
    assert cli.main(["score", "--help"]) == 0
    assert "--normalize [yes|no]" in capsys.readouterr().out


def test_export_says_how_to_load_it_and_what_was_filled(
    capsys: pytest.CaptureFixture[str], checkpoint: Path, tmp_path: Path
) -> None:
    from s3prl_compress.encoder import CTCHead, load, save

    compress = ("compress", checkpoint, "--method", "magnitude", "--granularity", "channel")
    figures(capsys, *compress, "--sparsity", "0.3", "--output", tmp_path / "small")
    export = ("export", tmp_path / "small", "--format", "transformers", "--output")
    assert "--dense" in complaint(capsys, *export, tmp_path / "no")
    assert not (tmp_path / "no").exists()
    unknown = ("export", checkpoint, "--format", "tensorrt", "--output", tmp_path / "no")
    assert "`s3prl-compress ls formats` lists them" in complaint(capsys, *unknown)
    answer = figures(capsys, *export, tmp_path / "dense", "--dense")
    assert answer["notes"][0].startswith("filled with zeros: ")
    encoder = load(checkpoint)
    encoder.head = CTCHead(32, ("<pad>", "A"), 0)
    save(encoder, tmp_path / "ctc")
    for name, source in (("AutoModel", checkpoint), ("AutoModelForCTC", tmp_path / "ctc")):
        arguments = ["export", str(source), "--format", "transformers"]
        assert cli.main([*arguments, "--output", str(tmp_path / name)]) == 0
        assert f"in transformers: {name}.from_pretrained(" in capsys.readouterr().out


def test_score_with_several_seeds(
    capsys: pytest.CaptureFixture[str], checkpoint: Path, tiny_corpus: Path, tmp_path: Path
) -> None:
    results = tmp_path / "results"
    command = ("score", checkpoint, "--data", tiny_corpus, "--recipe", QUICK, "--output", results)
    alone = figures(capsys, *command, "--seed", "2")
    answer = figures(capsys, *command, "--seeds", "0-1,2")
    assert answer["seeds"] == [0, 1, 2]
    assert answer["records"][2] == alone
    scores = [record["score"] for record in answer["records"]]
    assert answer["mean"] == pytest.approx(statistics.fmean(scores))
    assert answer["spread"] == pytest.approx(statistics.stdev(scores))
    assert figures(capsys, *command, "--seeds", "1")["spread"] is None
    assert cli.main([str(part) for part in (*command, "--seeds", "0-2")]) == 0
    printed = capsys.readouterr().out
    assert [line[:8] for line in printed.splitlines()[:3]] == ["seed 0: ", "seed 1: ", "seed 2: "]
    error = f"{answer['mean']:.2f} \N{PLUS-MINUS SIGN} {answer['standard_error']:.2f}"
    assert f"{error}, mean of 3 seeds, standard deviation over seeds" in printed
    assert answer["interval"][0] <= answer["mean"] <= answer["interval"][1]
    assert f"error over seeds and {answer['error_units']}" in printed
    both = complaint(capsys, *command, "--seed", "0", "--seeds", "0-2")
    assert "--seed and --seeds: give only one of them" in both
    assert "seeds 0-: '0-' is neither a seed nor a range" in complaint(
        capsys, *command, "--seeds", "0-"
    )
    assert len(list(results.glob("*.json"))) == 3


def test_bad_input_is_one_line(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    checkpoint: Path,
    tmp_path: Path,
) -> None:
    monkeypatch.delenv(TRACEBACK_VARIABLE, raising=False)
    other = tmp_path / "other"
    other.mkdir()
    (other / "notes.txt").write_text("mine")
    to = ("--output", tmp_path / "out")
    compress = ("compress", checkpoint, "--method", "clustering")
    assert "no command 'compres'" in complaint(capsys, "compres")
    assert "MODEL" in complaint(capsys, "inspect")
    assert "--nope" in complaint(capsys, "inspect", checkpoint, "--nope", "1")
    assert "no such file or folder" in complaint(capsys, "inspect", tmp_path / "nothing.pt")
    assert "--sparsity" in complaint(capsys, *compress, "--sprsity", "0.1", *to)
    assert "less than 1" in complaint(capsys, *compress, "--sparsity", "2", *to)
    assert "clustering" in complaint(capsys, "compress", checkpoint, "--method", "x", *to)
    assert str(other) in complaint(capsys, *compress, "--output", other)
    assert "is a file" in complaint(capsys, *compress, "--output", other / "notes.txt" / "deeper")
    assert "threads 0" in complaint(capsys, "inspect", checkpoint, "--threads", "0")
    assert "cpu or cuda" in complaint(capsys, "inspect", checkpoint, "--device", "abacus")
    assert "no such" in complaint(capsys, "report", tmp_path / "nothing")
    assert "no shape" in complaint(capsys, "random", "hubert_huge", *to)
    assert "engine" in complaint(capsys, "score", checkpoint, "--data", other, "--engine", "x")
    assert (other / "notes.txt").read_text() == "mine"
    assert not (tmp_path / "out").exists()


def test_a_traceback_only_where_it_is_asked_for(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert cli.main(["inspect", str(tmp_path / "no.pt"), "--traceback"]) == 2
    assert "Traceback" in capsys.readouterr().err
    monkeypatch.setenv(TRACEBACK_VARIABLE, "1")
    assert cli.main(["inspect", str(tmp_path / "no.pt")]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_ctrl_c(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("s3prl_compress.cli.inspection.inspect_model", interrupted)
    assert cli.main(["inspect", "hubert_tiny"]) == 130
    assert "run the same command again to resume" in capsys.readouterr().err


def test_exit_code_and_no_traceback_of_the_real_process(tmp_path: Path) -> None:
    code = "import sys; from s3prl_compress.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", code, "inspect", str(tmp_path / "nothing.pt")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("arguments", [("--help",), ("ls", "engines")])
def test_a_reader_that_has_gone_is_no_fault(arguments: tuple[str, ...]) -> None:
    code = "import sys; from s3prl_compress.cli import main; sys.exit(main())"
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        stdout=writing,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("run demo --cluster x", "--cluster x: must be slurm"),
        ("run demo --threads x", "invalid value for '--threads': 'x' is not a valid integer"),
        ("time m --repeats 1.5", "invalid value for '--repeats': '1.5' is not a valid integer"),
        ("ls x", "invalid value for 'KIND': 'x' is not one of 'methods', 'tasks', 'engines',"),
        ("check m --data d", "missing: '--against', '--margin'; see `s3prl-compress check --help`"),
        ("compress", "missing: 'MODEL', '--output'"),
        ("compress m --json", "missing: '--output'"),
        ("inspect m extra", "got unexpected extra argument (extra)"),
        ("inspect m --threads", "option '--threads' requires an argument"),
        ("random m --output --seed 1", "invalid value for '--output': needs a value before --seed"),
        ("run demo --dry-run=x", "option '--dry-run' does not take a value"),
        ("report f --nope", "no option --nope; there are --output, --json, --traceback"),
        (
            "compress m --method low_rank --form x",
            "no option --form; this method takes --sparsity",
        ),
        ("--nope", "no option --nope; there are --version; see `s3prl-compress --help`"),
        ("compres", "no command 'compres'; there are: ls, inspect,"),
    ],
)
def test_a_wrong_command_line_is_named_without_pythons_types(
    capsys: pytest.CaptureFixture[str], arguments: str, words: str
) -> None:
    assert complaint(capsys, *arguments.split()).startswith(f"error: {words}")
