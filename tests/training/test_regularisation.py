from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from s3prl_compress.encoder import SpeechEncoder
from s3prl_compress.methods.ctc import CTCConfig
from s3prl_compress.methods.self_pinching import SelfPinchingConfig
from s3prl_compress.training.regularisation import regularised

from ..support.letters import write_letters
from ..support.small import small_encoder

SAMPLES = [16_000, 12_000]


@pytest.fixture(scope="module")
def letters(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("letters")
    write_letters(root)
    return root


def config(letters: Path, **settings: Any) -> CTCConfig:
    return CTCConfig(audio=letters, **settings)


def waveforms() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(samples, generator=generator) for samples in SAMPLES]


def frames(encoder: SpeechEncoder) -> list[int]:
    return [encoder.shape.frames(samples) for samples in SAMPLES]


def test_nothing_is_drawn_by_default(letters: Path) -> None:
    encoder = small_encoder().train()
    expected = encoder(waveforms())[0][-1]
    with regularised(encoder, config(letters)) as drawn:
        assert drawn.draw(frames(encoder), 0, 0) is None
        assert torch.equal(encoder(waveforms())[0][-1], expected)


def test_masked_channels_are_zero_before_the_transformer(letters: Path) -> None:
    encoder = small_encoder().train()
    seen: list[torch.Tensor] = []
    with regularised(encoder, config(letters, mask_channels=0.05)) as drawn:
        drawn.draw(frames(encoder), 0, 0)
        hook = encoder.encoder.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
        encoder(waveforms())
        hook.remove()
    assert drawn.kept_channels is not None
    assert not drawn.kept_channels.all()
    (features,) = seen
    empty = (features[:, :30] == 0).all(dim=1)
    assert torch.equal(empty, ~drawn.kept_channels)


def test_the_expected_share_of_channels_is_masked(letters: Path) -> None:
    encoder = small_encoder()
    width = encoder.shape.hidden
    span = round(width / 12)
    with regularised(encoder, config(letters, mask_channels=0.02)) as drawn:
        drawn.draw([49] * 4000, 0, 0)
    assert drawn.kept_channels is not None
    # Spans start at `width - span + 1` places; without replacement, overlaps are only partial.
    middle = drawn.kept_channels[:, span : width - span]
    expected = 0.02 * width * span / (width - span + 1)
    assert (~middle).float().mean().item() == pytest.approx(expected, rel=0.15)


def test_dropout_follows_the_key(letters: Path) -> None:
    encoder = small_encoder().train()
    with regularised(encoder, config(letters, dropout=0.5)) as drawn:
        results = []
        for key in ((3, 0), (3, 0), (4, 0), (3, 1)):
            drawn.draw(frames(encoder), *key)
            results.append(encoder(waveforms())[0][-1])
    first, again, *others = results
    assert torch.equal(first, again)
    assert not any(torch.equal(first, other) for other in others)


def test_evaluation_is_left_alone(letters: Path) -> None:
    encoder = small_encoder().eval()
    expected = encoder(waveforms())[0][-1]
    with regularised(encoder, config(letters, dropout=0.5, mask_channels=0.1)) as drawn:
        drawn.draw(frames(encoder), 0, 0)
        assert torch.equal(encoder(waveforms())[0][-1], expected)
    encoder.train()  # the hooks are gone
    torch.testing.assert_close(encoder(waveforms())[0][-1], expected, atol=1e-4, rtol=1e-4)


def test_masks_cover_frames_of_each_utterance(letters: Path) -> None:
    encoder = small_encoder()
    with regularised(encoder, config(letters, mask_time=0.05)) as drawn:
        masks = drawn.draw(frames(encoder), 0, 0)
    assert masks is not None
    longest, shorter = frames(encoder)
    assert masks.shape == (2, longest)
    assert masks.any(dim=1).all()
    assert not masks[1, shorter:].any()


def test_only_what_is_switched_on_is_recorded(letters: Path) -> None:
    recorded = config(letters, dropout=0.1).recorded()
    assert recorded["dropout"] == 0.1
    assert not recorded.keys() & {"mask_time", "mask_channels"}


def test_distillation_takes_no_masks(letters: Path) -> None:
    with pytest.raises(ValidationError, match="mask_time goes with objective 'ctc' only"):
        SelfPinchingConfig(audio=letters, mask_time=0.05)
