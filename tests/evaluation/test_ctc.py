from __future__ import annotations

import copy
from pathlib import Path

import jiwer
import pytest
import torch

from s3prl_compress.common.errors import InputError
from s3prl_compress.encoder import NAMED_SHAPES, SpeechEncoder, random_encoder, save
from s3prl_compress.evaluation.ctc import score_ctc
from s3prl_compress.training.ctc import add_head

from ..support.letters import write_letters


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("letters")
    write_letters(root)
    return root


@pytest.fixture(scope="module")
def encoder() -> SpeechEncoder:
    encoder = random_encoder(NAMED_SHAPES["hubert_tiny"]).eval()
    add_head(encoder, ["ab cd"], seed=0)
    return encoder


def test_the_rates_are_jiwers(encoder: SpeechEncoder, data: Path) -> None:
    score = score_ctc(encoder, data)
    files, truth, predicted = zip(*score.predictions, strict=True)
    assert files == tuple(f"test-clean/1/2/1-2-000{number}.flac" for number in range(4))
    assert all(text == text.upper() for text in truth)
    assert score.word_error_rate == pytest.approx(100 * jiwer.wer(list(truth), list(predicted)))
    assert score.character_error_rate == pytest.approx(
        100 * jiwer.cer(list(truth), list(predicted))
    )
    low, high = score.interval
    assert low <= score.word_error_rate <= high


def test_a_checkpoint_gives_the_same(encoder: SpeechEncoder, data: Path, tmp_path: Path) -> None:
    save(encoder, tmp_path / "checkpoint")
    score = score_ctc(tmp_path / "checkpoint", data, "dev")
    assert score.predictions == score_ctc(encoder, data, "dev").predictions


def test_a_head_that_says_nothing_deletes_every_word(encoder: SpeechEncoder, data: Path) -> None:
    silent = copy.deepcopy(encoder)
    assert silent.head is not None
    with torch.no_grad():
        silent.head.linear.bias[silent.head.blank] = 1e4
    score = score_ctc(silent, data)
    assert {predicted for _, _, predicted in score.predictions} == {""}
    assert score.word_error_rate == score.character_error_rate == 100


def test_no_head_is_said(data: Path) -> None:
    with pytest.raises(InputError, match="has no CTC head; fine-tune it first"):
        score_ctc(random_encoder(NAMED_SHAPES["hubert_tiny"]), data)
