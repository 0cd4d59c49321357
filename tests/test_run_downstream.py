from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from s3prl_compress.encoder import NAMED_SHAPES, random_encoder, save
from s3prl_compress.run_downstream import _completed, main
from s3prl_compress.s3prl_bridge.compat import apply_patches
from s3prl_compress.tasks.registry import open_corpus
from s3prl_compress.tasks.sid.corpus import SpeakerCorpus

from .support.forked import ForkServer
from .support.small_corpora import write_phonemes, write_speakers, write_transcripts

pytestmark = pytest.mark.s3prl

DATA = "config.downstream_expert.datarc"

_IMPORTS = """
from s3prl_compress.run_downstream import main
from s3prl_compress.s3prl_bridge.registration import register
register()
import s3prl.downstream.runner
"""

Run = Callable[[list[str], Path], "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """Run the command line in a process of its own, a fork of one that has imported s3prl.

    s3prl's `main` changes its process. Its imports take most of the time that a short run needs.
    """
    folder = tmp_path_factory.mktemp("output")
    with ForkServer(_IMPORTS) as server:
        numbers = iter(range(1000))

        def forked(flags: list[str], cwd: Path) -> subprocess.CompletedProcess[str]:
            code = f"import sys; from {main.__module__} import main; sys.exit(main({flags!r}))"
            number = next(numbers)
            files = [folder / f"{number}.{name}" for name in ("stdout", "stderr")]
            status = server.run(code, cwd, *files)
            texts = (file.read_text("utf-8") for file in files)
            return subprocess.CompletedProcess(flags, status, *texts)

        yield forked


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["-u", "compressed", "-d", "speech_commands"], "-u compressed: no checkpoint"),
        (["-u", "compressed", "-k", "/no/such", "-d", "asr"], "-k /no/such: no such file"),
        (
            ["-u", "hubert", "-d", "diarization"],
            "-d diarization: s3prl's wheel contains no configs",
        ),
        (
            ["-u", "hubert", "-d", "emotion"],
            "datarc.root=DIR,,config.downstream_expert.datarc.meta",
        ),
        (["-u", "hubert", "-d", "asr", "-o", f"{DATA}.libri_root=/no"], "/no: no such folder"),
        (["-u", "hubert", "-d", "speech_commands"], "give the folder of the corpus"),
        (["-u", "hubert", "-d", "ctc"], '-o "config.downstream_expert.corpus.path=DIR"'),
        (
            ["-u", "hubert", "-d", "ctc", "-o", "config.downstream_expert.corpus.path=/no"],
            "/no: no such folder; give a corpus that `prepare pr` wrote",
        ),
        (["-u", "hubert", "-d", "asr", "-c", "no.yaml"], "-c no.yaml: no such file"),
        (
            ["-u", "hubert", "-d", "sv_voxceleb1"],
            "-d sv_voxceleb1: trims silence by libsox's effect `silence`",
        ),
        (["-u", "compressed", "-k", "out/fold10.x", "-d", "asr"], "-k out/fold10.x: no such file"),
        (
            ["-u", "someone/model", "--hub", "huggingface", "-d", "asr"],
            "give the model as -u compressed -k OWNER/NAME",
        ),
    ],
)
def test_mistakes_are_said_in_one_line_before_s3prl_starts(
    flags: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if "sv_voxceleb1" in flags and "torchaudio_sox_effects" not in apply_patches():
        pytest.skip("this torchaudio has libsox")
    assert main(["-m", "train", "-p", "unused", "--device", "cuda", *flags]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1


def test_keyword_spotting_from_the_command_line(tiny_corpus: Path, tmp_path: Path) -> None:
    save(random_encoder(NAMED_SHAPES["hubert_tiny"]), tmp_path / "tiny")
    flags = ["-m", "train", "-u", "compressed", "-k", str(tmp_path / "tiny"), "-g", "fairseq"]
    flags += [
        "-d",
        "speech_commands",
        "-p",
        "experiment",
        "-o",
        _override(tiny_corpus),
        "--device",
        "cpu",
    ]
    done = _run(flags, tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    log = (tmp_path / "experiment" / "log.log").read_text()
    assert "dev at step 4" in log
    assert "test at step 4" in log
    assert len((tmp_path / "experiment" / "test_predict.txt").read_text().splitlines()) == 48


def test_a_run_is_resumed_from_another_folder_and_started_where_fork_is_not_the_default(
    tiny_corpus: Path, tmp_path: Path, run: Run
) -> None:
    save(random_encoder(NAMED_SHAPES["hubert_tiny"]), tmp_path / "tiny")
    (tmp_path / "options.yaml").write_text("padding: fairseq\n")
    (tmp_path / "elsewhere").mkdir()
    override = _override(tiny_corpus).replace("num_workers=0", "num_workers=1")
    flags = ["-m", "train", "-u", "compressed", "-k", "tiny", "-g", "options.yaml"]
    flags += ["-d", "speech_commands", "-p", "experiment", "-o", override, "--device", "cpu"]
    code = (
        "import multiprocessing, sys; multiprocessing.set_start_method('spawn'); "
        f"from s3prl_compress.run_downstream import main; status = main({flags!r}); "
        "sys.exit(status or int(multiprocessing.get_start_method() != 'fork'))"
    )
    done = _python(["-c", code], tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    past = ["-e", "../experiment", "--device", "cpu", "-m", "evaluate", "-t", "dev"]
    done = run(past, tmp_path / "elsewhere")
    assert done.returncode == 0, done.stderr[-2000:]
    assert [*(tmp_path / "elsewhere").iterdir()] == []
    assert (tmp_path / "experiment" / "dev_predict.txt").is_file()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["-s", "hidden_state_5"], "-s hidden_state_5: the upstream has no such state"),
        (["-l", "9"], "-l 9: the upstream has 3 hidden states, 0 to 2"),
    ],
)
def test_states_that_are_not_there_are_one_line(
    flags: list[str], message: str, tiny_corpus: Path, tmp_path: Path, run: Run
) -> None:
    save(random_encoder(NAMED_SHAPES["hubert_tiny"]), tmp_path / "tiny")
    common = ["-m", "train", "-u", "compressed", "-k", "tiny", "-d", "speech_commands"]
    common += ["-p", "experiment", "-o", _override(tiny_corpus), "--device", "cpu"]
    done = run([*common, *flags], tmp_path)
    assert done.returncode == 2, done.stderr[-2000:]
    assert done.stderr.splitlines()[-1].startswith(f"run_downstream: {message}")
    assert "Traceback" not in done.stderr


def test_one_state_is_selected(tiny_corpus: Path, tmp_path: Path, run: Run) -> None:
    save(random_encoder(NAMED_SHAPES["hubert_tiny"]), tmp_path / "tiny")
    flags = ["-m", "train", "-u", "compressed", "-k", "tiny", "-d", "speech_commands"]
    flags += ["-s", "hidden_state_1", "-p", "experiment", "-o", _override(tiny_corpus)]
    done = run([*flags, "--device", "cpu"], tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "The selected feature hidden_state_1's downsample rate is 320" in done.stderr
    assert "weighted sum" not in done.stderr


def test_phonemes_from_the_command_line(tmp_path: Path, run: Run) -> None:
    save(random_encoder(NAMED_SHAPES["hubert_tiny"]), tmp_path / "tiny")
    root = write_phonemes(tmp_path / "corpus", ("AA1 B", "B"), train=4)
    section = "config.downstream_expert.corpus"
    override = [f"{section}.path={root}", f"{section}.num_workers=0", f"{section}.batch_size=2"]
    override += [f"config.runner.{name}=2" for name in ("total_steps", "eval_step", "save_step")]
    flags = ["-m", "train", "-u", "compressed", "-k", "tiny", "-d", "ctc", "-p", "experiment"]
    done = run([*flags, "-o", ",,".join(override), "--device", "cpu"], tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    lines = (tmp_path / "experiment" / "test-ref.ark").read_text().splitlines()
    assert sorted(lines) == ["7-1-0000 AA1 B", "7-1-0001 B", "7-1-0002 AA1 B"]
    assert (tmp_path / "experiment" / "dev-best.ckpt").is_file()


@pytest.mark.parametrize("downstream", ["voxceleb1", "asr"])
def test_what_the_wheel_lacks_is_supplied(downstream: str, tmp_path: Path, run: Run) -> None:
    save(random_encoder(NAMED_SHAPES["hubert_tiny"]), tmp_path / "tiny")
    changes = ["num_workers=0", "eval_batch_size=1"]
    if downstream == "asr":
        root = write_transcripts(tmp_path / "corpus", ("ONE", "TWO"), train=4)
        changes += [f"libri_root='{root}'", "batch_size=2"]
    else:
        corpus = open_corpus(write_speakers(tmp_path / "corpus", 2), "sid")
        assert isinstance(corpus, SpeakerCorpus)
        changes += [f"file_path={corpus.audio_root}", f"meta_data={corpus.split_file}"]
        changes += ["train_batch_size=2"]
    override = [f"{DATA}.{change}" for change in changes]
    override += ["config.runner.gradient_accumulate_steps=1"]
    override += [f"config.runner.{name}=2" for name in ("total_steps", "eval_step", "save_step")]
    if downstream == "asr":
        model = "config.downstream_expert.modelrc"
        override += [f"{model}.project_dim=8", f"{model}.RNNs.dim=[8, 8]"]
    flags = ["-m", "train", "-u", "compressed", "-k", str(tmp_path / "tiny"), "-g", "fairseq"]
    flags += ["-d", downstream, "-p", "experiment", "-o", ",,".join(override), "--device", "cpu"]
    done = run(flags, tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    assert (tmp_path / "experiment" / "states-2.ckpt").is_file()
    if downstream == "asr":
        lines = (tmp_path / "experiment" / "dev-clean-noLM-ref.ark").read_text().splitlines()
        assert sorted(lines) == ["7-1-0000 ONE", "7-1-0001 TWO", "7-1-0002 ONE"]
        assert (tmp_path / "experiment" / "len_for_bucket" / "dev-clean.csv").is_file()
    else:
        truth = (tmp_path / "experiment" / "test_truth.txt").read_text()
        assert truth.splitlines() == [
            "id10002-video-00003 id10002",
            "id10001-video-00003 id10001",
        ]


def test_the_bundled_upstream_without_weights(
    no_bundled_demo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["-m", "train", "-p", "unused", "-u", "hubert_demo", "-d", "speech_commands"]
    assert main(flags) == 2
    error = capsys.readouterr().err
    assert "without its weights" in error
    assert len(error.splitlines()) == 1


def test_the_bundled_upstream_from_the_command_line(
    bundled_demo: Path, tiny_corpus: Path, tmp_path: Path
) -> None:
    flags = ["-m", "train", "-u", "hubert_demo", "-d", "speech_commands", "-p", "experiment"]
    flags += ["-o", _override(tiny_corpus), "--device", "cpu"]
    # Another process, with the folder of the weights in the place of the package's.
    code = (
        "import pathlib, sys; from s3prl_compress.encoder import bundled; "
        f"bundled.upstreams_folder = lambda: pathlib.Path({str(bundled_demo.parent)!r}); "
        f"from s3prl_compress.run_downstream import main; sys.exit(main({flags!r}))"
    )
    done = _python(["-c", code], tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "test at step 4" in (tmp_path / "experiment" / "log.log").read_text()


def test_a_folder_stands_for_an_upstream(tiny_corpus: Path, tmp_path: Path) -> None:
    folder = str(save(random_encoder(NAMED_SHAPES["hubert_tiny"]), tmp_path / "tiny"))
    given = ["-m", "train", "-d", "speech_commands", "-p", "x", "-o", _override(tiny_corpus)]
    completed = _completed([*given, "-u", folder], tmp_path)
    assert completed[len(given) + 2 :][:4] == ["-u", "compressed", "-k", folder]


def test_a_wrong_flag_gives_s3prls_own_usage(tmp_path: Path, run: Run) -> None:
    done = run(["-m", "dance"], tmp_path)
    assert done.returncode == 2
    assert "invalid choice: 'dance'" in done.stderr
    assert "UPSTREAM_FEATURE_SELECTION" in done.stderr


def _override(corpus: Path) -> str:
    return ",,".join(
        (
            f"{DATA}.speech_commands_root={corpus / 'speech_commands'}",
            f"{DATA}.speech_commands_test_root={corpus / 'speech_commands_test'}",
            f"{DATA}.num_workers=0",
            f"{DATA}.batch_size=8",
            "config.runner.total_steps=4",
            "config.runner.eval_step=2",
            "config.runner.save_step=2",
        )
    )


def _run(flags: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    return _python(["-m", "s3prl_compress.run_downstream", *flags], folder)


def _python(arguments: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *arguments]
    # s3prl counts its steps by a progress bar: without bars it must end all the same.
    environment = os.environ | {"TQDM_DISABLE": "1"}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
