from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from s3prl_compress.audio import audio_set
from s3prl_compress.common.errors import InputError
from s3prl_compress.distillation import stage as learned
from s3prl_compress.distillation.config import DistillationConfig
from s3prl_compress.distillation.losses import build_distillation_loss
from s3prl_compress.distillation.stage import distill
from s3prl_compress.encoder import SpeechEncoder, fingerprint, load
from s3prl_compress.encoder.cost import nonzero_parameters
from s3prl_compress.encoder.front_ends.whisper import Pad
from s3prl_compress.methods import compress
from s3prl_compress.training.stages import Stage
from s3prl_compress.training.state import read_facts

from ..support.small import small_encoder
from ..support.small_whisper import small_whisper

STAGE = Stage("small", steps=6, learning_rate=1e-3, warmup=0.3)
SECOND = Stage("second", steps=2, learning_rate=1e-3, warmup=0.0)


def config(audio: Path, **changes: Any) -> DistillationConfig:
    values: dict[str, Any] = {
        "audio": audio,
        "batch_seconds": 2.0,
        "crop_seconds": 0.5,
        "accumulation": 2,
        "log_every": 2,
        "checkpoint_every": 2,
        "workers": 0,
        "precision": "no",
    }
    return DistillationConfig(**values | changes)


class Noisy(nn.Module):
    """A student that draws numbers, as one with gates does."""

    def __init__(self, encoder: SpeechEncoder) -> None:
        super().__init__()
        self.encoder, self.shape = encoder, encoder.shape

    def forward(
        self, waveforms: Sequence[Tensor], masks: Tensor | None = None
    ) -> tuple[tuple[Tensor, ...], Tensor]:
        states, counts = self.encoder(waveforms, masks)
        return tuple(state * (1 + 0.3 * torch.rand(())) for state in states), counts


def weights(student: nn.Module) -> list[Tensor]:
    return [parameter.detach() for parameter in student.parameters()]


def test_the_student_comes_nearer_to_the_teacher(tones: Path) -> None:
    teacher, student = small_encoder(), small_encoder(seed=7)
    before = fingerprint(teacher)
    state = torch.random.get_rng_state()
    long = Stage("long", steps=40, learning_rate=3e-3, warmup=0.1)
    progress = distill(student, teacher, config(tones, accumulation=1), long)
    losses = [entry["loss"] for entry in progress.training]
    assert losses[-1] < losses[0] - 0.2
    assert fingerprint(teacher) == before
    assert torch.equal(torch.random.get_rng_state(), state)
    assert not student.training


@pytest.mark.parametrize("family", ["hubert", "wavlm"])
def test_bfloat16_learns_the_same(tones: Path, family: str) -> None:
    found = {}
    for precision in ("no", "bf16"):
        student = small_encoder(family, seed=7)  # type: ignore[arg-type]
        teacher = small_encoder(family)  # type: ignore[arg-type]
        progress = distill(student, teacher, config(tones, precision=precision), STAGE)
        found[precision] = progress.training[-1]["loss"]
        assert {parameter.dtype for parameter in student.parameters()} == {torch.float32}
    assert found["bf16"] == pytest.approx(found["no"], abs=0.05)


def test_a_killed_run_goes_on_to_the_same_weights(
    tones: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    teacher = small_encoder()
    whole, cut = Noisy(small_encoder(seed=7)), Noisy(small_encoder(seed=7))
    expected = distill(whole, teacher, config(tones, work=tmp_path / "whole"), STAGE)
    kept = config(tones, work=tmp_path / "cut")

    real = learned.AudioBatches.iterate

    def killed(self: Any, first: int, *rest: Any) -> Any:
        for number, batch in enumerate(real(self, first, *rest), start=first):
            if number == 7:  # in update 3
                raise KeyboardInterrupt
            yield batch

    monkeypatch.setattr(learned.AudioBatches, "iterate", killed)
    with pytest.raises(KeyboardInterrupt):
        distill(Noisy(small_encoder(seed=7)), teacher, kept, STAGE)
    monkeypatch.undo()
    found = distill(cut, teacher, kept, STAGE)
    for one, other in zip(weights(whole), weights(cut), strict=True):
        assert torch.equal(one, other)
    assert found.training == expected.training
    assert list((tmp_path / "cut" / "small" / "tensorboard").iterdir())

    with pytest.raises(InputError, match="other settings"):
        distill(Noisy(small_encoder(seed=8)), teacher, kept, STAGE)


def test_a_second_stage_goes_on_with_the_projections(tones: Path, tmp_path: Path) -> None:
    teacher, student = small_encoder(), small_encoder(seed=7)
    kept = config(tones, work=tmp_path)
    distance = build_distillation_loss(teacher, student.shape, kept)
    distill(student, teacher, kept, STAGE, distance=distance)
    learned_there = [projection.clone() for projection in weights(distance)]
    identity = torch.eye(student.shape.hidden)
    assert not any(torch.equal(projection, identity) for projection in learned_there)

    still = Stage("second", steps=1, learning_rate=1e-30, warmup=0.0)
    distill(student, teacher, kept, still, distance=distance)
    for one, other in zip(weights(distance), learned_there, strict=True):
        assert torch.equal(one, other)
    with pytest.raises(InputError, match="other settings"):  # of other projections, another run
        distill(student, teacher, kept, still)


SCRIPT = """
import sys
from pathlib import Path
from s3prl_compress.encoder import save
from s3prl_compress.training.processes import is_main
from tests.support.small import small_encoder
from tests.distillation.test_stages import SECOND, STAGE, Noisy, config, distill

audio, output = Path(sys.argv[1]), Path(sys.argv[2])
loss = {"loss": "codes", "codes": 6} if sys.argv[3] == "codes" else {}
student = Noisy(small_encoder(seed=7))
for stage in (STAGE, SECOND):
    distill(student, small_encoder(), config(audio, work=output / "work", **loss), stage)
if is_main():
    save(student.encoder, output / "encoder")
"""


@pytest.mark.parametrize("loss", ["layers", "codes"])
def test_two_processes_learn_what_one_does(loss: str, tones: Path, tmp_path: Path) -> None:
    """Each has its share of every batch; gradients are means, and one writes."""
    alone = Noisy(small_encoder(seed=7))
    settings = config(tones, loss="codes", codes=6) if loss == "codes" else config(tones)
    expected = [distill(alone, small_encoder(), settings, stage) for stage in (STAGE, SECOND)]
    script = tmp_path / "train.py"
    script.write_text(SCRIPT)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    root = Path(__file__).parents[2]
    subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2"),
            *("--master_addr", "127.0.0.1", "--master_port", str(port)),
            *(str(script), str(tones), str(tmp_path), loss),
        ],
        check=True,
        cwd=root,
        env=os.environ | {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"},
        timeout=300,
    )
    together = load(tmp_path / "encoder")
    # Where the gradient is zero but for rounding (k's bias), AdamW steps by the rounding's sign.
    start = nn.utils.parameters_to_vector(weights(small_encoder(seed=7)))
    one = nn.utils.parameters_to_vector(weights(alone.encoder))
    two = nn.utils.parameters_to_vector(weights(together))
    assert float((one - two).norm()) < 0.02 * float((one - start).norm())
    for stage, progress in zip((STAGE, SECOND), expected, strict=True):
        kept = read_facts(tmp_path / "work" / stage.name / "state")
        assert kept is not None
        assert [entry["loss"] for entry in kept["training"]] == pytest.approx(
            [entry["loss"] for entry in progress.training], rel=1e-3
        )


def test_the_history_keeps_the_audio_and_no_folder(tones: Path, tmp_path: Path) -> None:
    recorded = config(tones, work=tmp_path).recorded()
    assert recorded["audio"].startswith(f"{tones.name} (sha256 ")
    assert str(tmp_path) not in str(recorded)
    assert {"work", "workers", "cache_in_memory", "log_every"}.isdisjoint(recorded)


def test_listing_decodes_nothing(tones: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A suite asks for the identity of an upstream before it knows whether to make it."""
    held = config(tones, cache_in_memory=True)
    decoded: list[Path] = []
    real = audio_set._decode

    def counted(path: Path, *rest: int) -> Any:
        decoded.append(path)
        return real(path, *rest)

    monkeypatch.setattr(audio_set, "_decode", counted)
    recorded = held.recorded()
    assert not decoded
    assert held.open(400).held is not None
    assert len(decoded) == len(set(decoded)) == 8
    assert held.recorded() == recorded == config(tones).recorded()
    assert len(decoded) == 8


def test_short_files_have_a_part_in_the_history_and_none_in_training(tones: Path) -> None:
    settings = config(tones)
    recorded = settings.recorded()
    assert len(settings.open(32_000).files) == 3
    assert settings.recorded() == recorded
    with pytest.raises(InputError, match="none of 8 audio files has 99999 samples or more"):
        config(tones).open(99_999)


@pytest.mark.parametrize(
    "wrong", [{"checkpoint_every": 3}, {"warmup": 1.0}, {"steps": 0}, {"precision": "half"}]
)
def test_impossible_settings(tones: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"checkpoint_every|warmup|steps|precision"):
        config(tones, **wrong)


@pytest.mark.parametrize("pad", ["full", "none"])
@pytest.mark.parametrize(
    ("method", "settings"), [("dphubert", {}), ("structured", {"loss": "codes", "codes": 4})]
)
def test_whisper_s_padding_does_not_enter_the_loss(
    method: str, settings: dict[str, Any], pad: Pad, tones: Path
) -> None:
    """Its states end with the speech; masks and the projected input must, too."""
    shared = {"steps": 10, "final_steps": 0, "batch_seconds": 4.0, "accumulation": 1}
    shared |= {"log_every": 5, "checkpoint_every": 5, "workers": 0, "sparsity": 0.2}
    smaller = compress(small_whisper(pad), method, audio=tones, **shared | settings)
    assert smaller.shape.front_end == small_whisper(pad).shape.front_end
    assert nonzero_parameters(smaller) < nonzero_parameters(small_whisper(pad))
