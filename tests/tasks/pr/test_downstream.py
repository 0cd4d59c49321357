"""s3prl's runner on phonemes, in its child process, and against the one-pass engine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from s3prl_compress.encoder import NAMED_SHAPES, random_encoder, save
from s3prl_compress.s3prl_bridge import engine
from s3prl_compress.tasks.base.engine import Job
from s3prl_compress.tasks.base.task import Settings
from s3prl_compress.tasks.pr import TASK
from s3prl_compress.tasks.pr.corpus import PhonemeCorpus, open_phonemes
from s3prl_compress.tasks.pr.downstream import PhonemeRecognition, phoneme_table
from s3prl_compress.tasks.pr.onepass import run_seeds

from ...support.small_corpora import write_phonemes

LABELS = ("AA1 B", "B ɔː B", "AA1")
SETTINGS = Settings(
    total_steps=4,
    batch_size=2,
    accumulation=2,
    eval_step=2,
    learning_rates=(1e-2,),
    projector_dim=8,
)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Children take this process's number of threads: theirs would fight for the cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def corpus(tmp_path: Path) -> PhonemeCorpus:
    return open_phonemes(write_phonemes(tmp_path / "corpus", LABELS, train=6))


@pytest.fixture
def job(corpus: PhonemeCorpus, tmp_path: Path) -> Job:
    encoder = random_encoder(NAMED_SHAPES["hubert_tiny"])
    checkpoint = save(encoder, tmp_path / "checkpoint")
    work = tmp_path / "work" / "cell"
    return Job(encoder, checkpoint, TASK, corpus, SETTINGS, 0, "independent", work, "cpu")


@pytest.mark.s3prl
def test_end_to_end(job: Job) -> None:
    result = engine.run(job)
    assert [row[:2] for row in result.predictions] == [
        (job.corpus.utterance_name(item), item.label) for item in job.corpus.items("test")
    ]
    assert result.rates[0].best_step in (2, 4)
    assert 0 < result.dev_score < 2000  # above 100 with a head that writes too much
    metrics = (job.work / "learning_rate_0.01" / "experiment" / "metrics.jsonl").read_text()
    assert "ctc-libriphone/dev-per" in metrics
    assert not list(job.work.rglob("*.ckpt"))


@pytest.mark.s3prl
def test_both_engines_give_the_same_predictions_of_a_head_that_stays_as_it_was_built(
    job: Job,
) -> None:
    job = replace(job, settings=SETTINGS.model_copy(update={"learning_rates": (1e-12,)}))
    by_s3prl = engine.run(job)
    (by_onepass,) = run_seeds([replace(job, work=job.work.parent / "other")])
    assert by_s3prl.predictions == by_onepass.predictions
    assert len({row[2] for row in by_s3prl.predictions}) > 1
    assert by_s3prl.dev_score == pytest.approx(by_onepass.dev_score, abs=1e-3)
    assert by_s3prl.rates[0].best_step == by_onepass.rates[0].best_step == 2


def test_official_settings_are_those_of_libriphone_yaml(
    corpus: PhonemeCorpus, tmp_path: Path
) -> None:
    settings, name = TASK.load_settings("official", "s3prl")
    assert name == "official"
    config = PhonemeRecognition().config(corpus, settings, 1e-2, fold=0, files=tmp_path)
    runner = config["runner"]
    assert runner["total_steps"] == 100_000
    assert runner["gradient_clipping"] == 1
    assert runner["gradient_accumulate_steps"] == 2
    assert runner["eval_step"] == 1000
    assert runner["eval_dataloaders"] == ["dev"]
    assert config["optimizer"] == {"name": "TorchOptim", "torch_optim_name": "Adam", "lr": 1e-2}
    assert "specaug" not in config
    expert = config["downstream_expert"]
    assert expert["model"] == {"project_dim": 256, "zero_infinity": True, "select": "FrameLevel"}
    assert (expert["corpus"]["bucketing"], expert["corpus"]["batch_size"]) == (True, 16)
    assert expert["text"]["mode"] == "word"
    assert (expert["metric"], expert["metric_higher_better"]) == (["per"], False)
    assert expert["save_best_on"] == ["dev"]
    vocabulary = Path(expert["text"]["vocab_file"]).read_text(encoding="utf-8")
    assert vocabulary.splitlines() == list(corpus.classes)


def test_tables_hold_paths_with_commas(tmp_path: Path) -> None:
    corpus = open_phonemes(write_phonemes(tmp_path / "a, b", LABELS, train=1))
    lines = phoneme_table(corpus, "train").splitlines()
    path = tmp_path / "a, b" / "train-clean-100" / "7" / "1" / "7-1-0000.flac"
    assert lines == ["path,phonemes", f'"{path}",AA1 B']


def test_another_corpus_in_the_same_experiment_is_not_taken_for_the_first(tmp_path: Path) -> None:
    settings, _ = TASK.load_settings("official", "s3prl")
    downstream = PhonemeRecognition()
    for number, labels in enumerate((LABELS, ("NG",))):
        root = write_phonemes(tmp_path / str(number), labels, train=2)
        config = downstream.official_config(settings, 1e-4)
        downstream.complete_config(config, {"path": str(root)}, tmp_path / "experiment")
        corpus = open_phonemes(root)
        for split in ("train", "dev", "test"):
            table = Path(config["downstream_expert"]["corpus"][split])
            assert table.read_text(encoding="utf-8") == phoneme_table(corpus, split)
        vocabulary = Path(config["downstream_expert"]["text"]["vocab_file"])
        assert vocabulary.read_text(encoding="utf-8").split() == list(corpus.classes)
    assert config["optimizer"]["lr"] == 1e-2  # libriphone.yaml's own
