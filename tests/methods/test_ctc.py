from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from s3prl_compress.audio import open_transcribed
from s3prl_compress.common.errors import InputError
from s3prl_compress.encoder import (
    NAMED_SHAPES,
    CTCHead,
    SpeechEncoder,
    load,
    random_encoder,
    save,
)
from s3prl_compress.encoder.checkpoint import fingerprint
from s3prl_compress.encoder.front_ends.whisper import Pad
from s3prl_compress.encoder.linear import SparseLinear
from s3prl_compress.methods import available, check_settings, compress
from s3prl_compress.statistics.metrics import character_error_rate
from s3prl_compress.surgery.rebuild import get_linear
from s3prl_compress.tasks.ctc.greedy import recognise
from s3prl_compress.training.ctc import add_head

from ..support.letters import write_letters
from ..support.small import small_encoder
from ..support.small_whisper import small_whisper

QUICK: dict[str, Any] = {
    "steps": 3,
    "batch_seconds": 4.0,
    "accumulation": 1,
    "log_every": 1,
    "checkpoint_every": 1,
    "workers": 0,
}


@pytest.fixture(scope="module")
def letters(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("letters")
    write_letters(root)
    return root


def tuned(encoder: SpeechEncoder, letters: Path, **settings: Any) -> SpeechEncoder:
    return compress(encoder, "ctc", audio=letters, **QUICK | settings)


def test_letters_are_learned(letters: Path) -> None:
    encoder = random_encoder(NAMED_SHAPES["hubert_tiny"])
    before = fingerprint(encoder)
    untrained = tuned(encoder, letters, steps=1, learning_rate=1e-9)
    trained = tuned(
        encoder,
        letters,
        steps=100,
        learning_rate=1e-2,
        log_every=50,
        checkpoint_every=50,
        freeze_front_end=False,
    )
    assert fingerprint(encoder) == before
    assert encoder.head is None
    speech = open_transcribed(letters, "train")
    truth = [text.upper() for text in speech.texts]
    first, last = (
        character_error_rate(truth, recognise(model, speech.audio))
        for model in (untrained, trained)
    )
    assert last < 75 <= first


def test_the_head_is_made_of_the_transcripts_and_goes_with_the_model(
    letters: Path, tmp_path: Path
) -> None:
    result = tuned(small_encoder(), letters)
    assert result.head is not None
    assert result.head.vocabulary == ("<pad>", "|", "a", "b", "c", "d")
    save(result, tmp_path / "tuned")
    smaller = compress(load(tmp_path / "tuned"), "magnitude", sparsity=0.1)
    assert smaller.head is not None
    assert torch.equal(smaller.head.linear.weight, result.head.linear.weight)
    (step,) = load(tmp_path / "tuned").provenance.steps
    assert step.settings["steps"] == 3
    assert len(step.settings["transcripts"]) == 64
    assert str(letters.parent) not in str(step.settings)


@pytest.mark.parametrize(
    ("method", "settings"),
    [
        ("magnitude", {"granularity": "weight"}),
        ("clustering", {}),
        ("low_rank", {}),
        ("structured", {"final_steps": 1}),
        ("prune_low_rank", {"factor_steps": 1, "final_steps": 1}),
        ("self_pinching", {"final_steps": 1}),
    ],
)
def test_every_method_keeps_the_head(
    letters: Path, tmp_path: Path, method: str, settings: dict[str, Any]
) -> None:
    encoder = small_encoder()
    add_head(encoder, ["abc"], seed=1)
    assert encoder.head is not None
    if available()[method].learns:
        settings = QUICK | settings | {"audio": letters, "steps": 1}
    smaller = compress(encoder, method, sparsity=0.1, **settings)
    save(smaller, tmp_path / "smaller")
    head = load(tmp_path / "smaller").head
    assert head is not None
    assert head.vocabulary == encoder.head.vocabulary
    assert torch.equal(head.linear.weight, encoder.head.linear.weight)


def test_a_head_that_is_there_is_trained_on(letters: Path) -> None:
    encoder = small_encoder()
    add_head(encoder, ["ABCD xyz"], seed=3)
    assert encoder.head is not None
    again = tuned(encoder, letters, learning_rate=1e-2)
    assert again.head is not None
    assert again.head.vocabulary == encoder.head.vocabulary
    assert not torch.equal(again.head.linear.weight, encoder.head.linear.weight)
    new = tuned(encoder, letters, new_head=True)
    assert new.head is not None
    assert len(new.head.vocabulary) == 6
    add_head(encoder, ["xyz"], seed=3)
    with pytest.raises(InputError, match="no symbol for"):
        tuned(encoder, letters)


def test_a_head_for_another_alphabet_is_not_trained_on_the_unknown_symbol(letters: Path) -> None:
    encoder = small_encoder()
    encoder.head = CTCHead(encoder.shape.hidden, ("<pad>", "<unk>", "|", "д", "ж"), 0)
    with pytest.raises(InputError, match="does not match the transcripts") as raised:
        tuned(encoder, letters)
    assert "\n" not in str(raised.value)


def test_the_front_end_is_frozen_and_masks_stay(letters: Path) -> None:
    sparse = compress(small_encoder(), "magnitude", granularity="weight", sparsity=0.2)
    result = tuned(sparse, letters, learning_rate=1e-2)
    before, after = sparse.state_dict(), result.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert not any(name.startswith("feature_extractor.") for name in changed)
    assert not any(name.endswith("bitmask") for name in changed)
    assert "encoder.layers.1.feed_forward.output_dense.values" in changed
    assert isinstance(get_linear(result, 0, "q"), SparseLinear)
    assert all(parameter.requires_grad for parameter in result.parameters())
    melted = tuned(sparse, letters, learning_rate=1e-2, freeze_front_end=False).state_dict()
    name = "feature_extractor.conv_layers.1.conv.weight"
    assert not torch.equal(melted[name], before[name])


def test_passes_say_how_many_steps(letters: Path) -> None:
    settings = {name: value for name, value in QUICK.items() if name != "steps"}
    result = compress(small_encoder(), "ctc", audio=letters, epochs=2, **settings)
    # 16 training utterances of 0.4 to 1.4 s in batches of 4 s, twice.
    assert 6 <= result.provenance.steps[-1].settings["steps"] <= 14


def test_listing_decodes_nothing(letters: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("s3prl_compress.audio.audio_set._decode", None)
    for method, more in (("ctc", {}), ("self_pinching", {"objective": "ctc"})):
        held = check_settings(method, {"audio": letters, "cache_in_memory": True} | more)
        assert len(held.recorded()["transcripts"]) == 64


def test_a_killed_run_ends_with_the_same_weights(
    letters: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from s3prl_compress.training import ctc as batches

    whole = tuned(small_encoder(), letters, work=tmp_path / "whole")
    real = batches.AudioBatches.iterate

    def killed(self: Any, first: int, *rest: Any) -> Any:
        for number, batch in enumerate(real(self, first, *rest), start=first):
            if number == 2:
                raise KeyboardInterrupt
            yield batch

    monkeypatch.setattr(batches.AudioBatches, "iterate", killed)
    with pytest.raises(KeyboardInterrupt):
        tuned(small_encoder(), letters, work=tmp_path / "cut")
    monkeypatch.undo()
    resumed = tuned(small_encoder(), letters, work=tmp_path / "cut")
    assert fingerprint(resumed) == fingerprint(whole)


def test_cached_features_change_rounding_only(letters: Path) -> None:
    waveform = torch.randn(8000, generator=torch.Generator().manual_seed(0))
    plain, cached = (
        tuned(small_encoder(), letters, cache_features=kept)([waveform])[0][-1]
        for kept in (False, True)
    )
    untrained = small_encoder()([waveform])[0][-1]
    assert (plain - untrained).norm() > 1000 * (plain - cached).norm()


@pytest.mark.parametrize("pad", ["full", "none"])
def test_whisper_s_encoder_is_fine_tuned_with_masks(letters: Path, pad: Pad) -> None:
    waveform = torch.randn(8000, generator=torch.Generator().manual_seed(0))
    plain, cached = (
        tuned(small_whisper(pad), letters, cache_features=kept, mask_time=0.1)([waveform])[0][-1]
        for kept in (False, True)
    )
    untrained = small_whisper(pad)([waveform])[0][-1]
    assert (plain - untrained).norm() > 100 * (plain - cached).norm()


def test_only_frozen_features_are_cached(letters: Path) -> None:
    with pytest.raises(InputError, match="cache_features needs freeze_front_end"):
        tuned(small_encoder(), letters, cache_features=True, freeze_front_end=False)
