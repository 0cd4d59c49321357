"""The forward pass against transformers and s3prl's own experts, and against itself alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from s3prl_compress.encoder import SpeechEncoder, load
from s3prl_compress.s3prl_bridge.compat import apply_patches

from ..support.baselines import (
    NAMES,
    TOLERANCE,
    VARIANTS,
    baselines,
    noise,
    small_encoder,
    small_shape,
    states_of,
)

# 400 gives one frame; at 40000 WavLM's position buckets are in their logarithmic part.
LENGTHS = (40_000, 400, 39_999, 27_121, 16_000)


@pytest.mark.parametrize(("family", "large"), VARIANTS, ids=NAMES)
def test_equals_transformers_on_single_utterances(family: str, large: bool, tmp_path: Path) -> None:
    shape = small_shape(family, large)
    model = baselines.transformers_model(shape)
    model.save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"do_normalize": False}))

    encoder = load(tmp_path)

    assert encoder.shape == shape
    for waveform in noise(*LENGTHS):
        theirs = baselines.transformers_states(model, waveform)
        assert len(theirs) == 3
        assert baselines.largest_difference(states_of(encoder, [waveform]), theirs) <= TOLERANCE


@pytest.mark.parametrize(("family", "large"), VARIANTS, ids=NAMES)
def test_masked_frames_equal_transformers(family: str, large: bool, tmp_path: Path) -> None:
    shape = small_shape(family, large)
    model = baselines.transformers_model(shape)
    baselines.randomise(model)  # the embedding of masked frames, too
    model.save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"do_normalize": False}))
    encoder = load(tmp_path)
    (waveform,) = noise(16_000)
    masks = torch.rand(1, shape.frames(16_000), generator=torch.Generator().manual_seed(0)) < 0.4
    theirs = baselines.transformers_states(model, waveform, masks)
    with torch.no_grad():
        ours, _ = encoder([waveform], masks)
        unmasked, _ = encoder([waveform])
    assert baselines.largest_difference(ours, theirs) <= TOLERANCE
    assert baselines.largest_difference(ours, unmasked) > 0.01


@pytest.mark.parametrize("kernel", [16, 17])  # an even kernel gives a frame too many
def test_equals_transformers_with_other_sizes(kernel: int, tmp_path: Path) -> None:
    shape = small_shape(
        "wavlm", False, heads=2, position_kernel=kernel, position_groups=4, hidden=32
    )
    model = baselines.transformers_model(shape)
    model.save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"do_normalize": False}))
    (waveform,) = noise(9_000)
    theirs = baselines.transformers_states(model, waveform)
    assert baselines.largest_difference(states_of(load(tmp_path), [waveform]), theirs) <= TOLERANCE


@pytest.mark.s3prl
@pytest.mark.parametrize(("family", "large"), VARIANTS, ids=NAMES)
def test_equals_s3prl_on_padded_batches(family: str, large: bool, tmp_path: Path) -> None:
    apply_patches()
    normalize = large  # as published
    shape = small_shape(family, large)
    path = baselines.s3prl_file(shape, tmp_path / "model.pt", normalize)
    expert = baselines.s3prl_expert(family, path)

    encoder = load(path, padding="fairseq")

    assert (encoder.shape, encoder.normalize) == (shape, normalize)
    # One utterance; an odd and an even number of frames; lengths that differ by a frame's share.
    for lengths in (LENGTHS, (5_000,), (4_720, 4_400), (8_399, 8_400, 8_080, 8_079)):
        waveforms = noise(*lengths)
        theirs = baselines.s3prl_states(expert, waveforms)
        assert len(theirs) == len(shape.layers) + 1
        assert theirs[0].shape[:2] == (len(lengths), shape.frames(max(lengths)))
        assert baselines.largest_difference(states_of(encoder, waveforms), theirs) <= TOLERANCE


@pytest.mark.s3prl
@pytest.mark.parametrize(("family", "large"), VARIANTS, ids=NAMES)
def test_the_two_mask_rules_of_s3prl(family: str, large: bool, tmp_path: Path) -> None:
    """HuBERT and WavLM cut the mask into chunks, wav2vec2 counts by the convolutions."""
    apply_patches()
    encoder = load(baselines.s3prl_file(small_shape(family, large), tmp_path / "m.pt"))
    encoder.padding = "fairseq"
    expert = baselines.s3prl_expert(family, tmp_path / "m.pt")
    # 15000 samples give 46 frames; in a batch with 16000, chunks of 326 samples count 47.
    waveforms = noise(16_000, 15_000)
    with torch.no_grad():
        states, counts = encoder(waveforms)
    assert counts.tolist() == ([49, 46] if family == "wav2vec2" else [49, 47])
    theirs = baselines.s3prl_states(expert, waveforms)
    assert baselines.largest_difference(list(states), theirs) <= TOLERANCE

    # The other rule would be noticed here.
    family = "hubert" if family == "wav2vec2" else "wav2vec2"
    other = SpeechEncoder(
        encoder.shape.model_copy(update={"family": family}),
        normalize=encoder.normalize,
        padding="fairseq",
    )
    other.load_state_dict(encoder.state_dict())
    assert baselines.largest_difference(states_of(other, waveforms), theirs) > 10 * TOLERANCE


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize(
    ("family", "large"), [("hubert", False), ("hubert", True), ("wavlm", False), ("wavlm", True)]
)
def test_alone_equals_in_any_batch(family: str, large: bool, normalize: bool) -> None:
    """Without s3prl's masks, wav2vec2 is the same network as HuBERT."""
    encoder = small_encoder(family, large, normalize)

    @settings(max_examples=8, deadline=None, derandomize=True)
    @given(st.lists(st.integers(400, 8_000), min_size=2, max_size=4), st.integers(0, 9))
    def check(lengths: list[int], seed: int) -> None:
        assert _largest_effect_of_the_batch(encoder, lengths, seed) <= TOLERANCE

    check()


def test_in_fairseq_the_batch_leaks_into_a_base_model() -> None:
    encoder = small_encoder("hubert", False)
    lengths = [12_000, 3_000]
    assert _largest_effect_of_the_batch(encoder, lengths, 0) <= TOLERANCE
    encoder.padding = "fairseq"
    assert _largest_effect_of_the_batch(encoder, lengths, 0, shortest=True) > 100 * TOLERANCE


def test_silence_in_a_batch_is_no_trouble() -> None:
    encoder = small_encoder("hubert", False)
    (speech,) = noise(6_000)
    batch = [speech, torch.zeros(2_000)]
    states = states_of(encoder, batch)
    alone = states_of(encoder, batch[:1])
    assert all(bool(torch.isfinite(state).all()) for state in states)
    assert baselines.largest_difference([state[:1] for state in states], alone) <= TOLERANCE


def test_train_mode_changes_nothing() -> None:
    encoder = small_encoder("wavlm", False)
    waveforms = noise(5_000, 3_000)
    eval_states = states_of(encoder, waveforms)
    assert baselines.largest_difference(states_of(encoder.train(), waveforms), eval_states) == 0.0


def _largest_effect_of_the_batch(
    encoder: SpeechEncoder, lengths: list[int], seed: int, shortest: bool = False
) -> float:
    """The largest difference between an utterance alone and in the batch, over its own frames."""
    waveforms = noise(*lengths, seed=seed)
    together = states_of(encoder, waveforms)
    worst = 0.0
    for number, waveform in enumerate(waveforms):
        if shortest and len(waveform) != min(lengths):
            continue
        alone = states_of(encoder, [waveform])
        frames = encoder.shape.frames(len(waveform))
        assert alone[0].shape[1] == frames
        own = [state[number : number + 1, :frames] for state in together]
        worst = max(worst, baselines.largest_difference(own, alone))
    return worst
