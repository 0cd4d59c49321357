from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from s3prl_compress.common.errors import InputError
from s3prl_compress.distillation import stage as learned
from s3prl_compress.encoder import SpeechEncoder, fingerprint, macs
from s3prl_compress.encoder.cost import stored_bytes
from s3prl_compress.encoder.linear import SparseLinear, dense_weight
from s3prl_compress.encoder.shape import LINEARS
from s3prl_compress.methods import available, compress
from s3prl_compress.surgery.rebuild import get_linear

from ...support.letters import write_letters
from ...support.small import assert_same, reached, small_encoder, speech

QUICK: dict[str, Any] = {
    "steps": 6,
    "factor_steps": 4,
    "final_steps": 2,
    "batch_seconds": 4.0,
    "accumulation": 1,
    "log_every": 2,
    "checkpoint_every": 2,
    "workers": 0,
    "learning_rate": 1e-3,
    "gate_learning_rate": 0.1,
}


@pytest.fixture(scope="module")
def noise(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("noise")
    write_letters(root)
    return root


def pruned(encoder: SpeechEncoder, noise: Path, **settings: Any) -> SpeechEncoder:
    return compress(encoder, "prune_low_rank", audio=noise, **QUICK | settings)


def kinds(encoder: SpeechEncoder) -> set[str]:
    return {getattr(layer, name).kind for layer in encoder.shape.layers for name in LINEARS}


@pytest.mark.parametrize("rank", ["learned", "energy", "uniform"])
@pytest.mark.parametrize("sparsity", [0.2, 0.4])
def test_the_whole_way_meets_the_target(noise: Path, rank: str, sparsity: float) -> None:
    encoder = small_encoder()
    before = fingerprint(encoder)
    result = pruned(encoder, noise, sparsity=sparsity, rank=rank)
    assert fingerprint(encoder) == before
    assert reached(result, encoder) == pytest.approx(sparsity, abs=0.01)
    assert "low_rank" in kinds(result) <= {"dense", "low_rank"}
    assert macs(result.shape, [16_000]) < macs(encoder.shape, [16_000])
    assert stored_bytes(result) < stored_bytes(encoder)


@pytest.mark.parametrize("nuclear", ["fast", "exact", "none"])
def test_pruning_alone_leaves_sparse_linears(noise: Path, nuclear: str) -> None:
    encoder = small_encoder()
    result = pruned(encoder, noise, stages="prune", sparsity=0.3, nuclear=nuclear)
    assert reached(result, encoder) == pytest.approx(0.3, abs=1e-3)
    assert kinds(result) == {"sparse"}


def test_what_is_distilled_keeps_its_mask(noise: Path) -> None:
    encoder = small_encoder()
    settings: dict[str, Any] = {"sparsity": 0.3, "scope": "layer", "nuclear": "none"}
    once = pruned(encoder, noise, stages="prune", **settings)
    twice = pruned(encoder, noise, stages="prune,distil", **settings)
    one, other = get_linear(once, 0, "q"), get_linear(twice, 0, "q")
    assert isinstance(one, SparseLinear)
    assert isinstance(other, SparseLinear)
    assert torch.equal(one.bitmask, other.bitmask)
    assert not torch.equal(one.values, other.values)


def test_the_parts_of_an_ablation(noise: Path) -> None:
    encoder = small_encoder()
    plain = compress(encoder, "low_rank", sparsity=0.3)
    same = pruned(encoder, noise, stages="factor", rank="energy", sparsity=0.3)
    assert_same(same, plain, speech(3000), tolerance=1e-5)
    gated = pruned(encoder, noise, stages="factor", sparsity=0.3, gate_start="open")
    assert reached(gated, encoder) == pytest.approx(0.3, abs=0.01)
    both = pruned(encoder, noise, stages="prune,factor", sparsity=0.3, prune_sparsity=0.2)
    assert reached(both, encoder) == pytest.approx(0.3, abs=0.01)
    assert not (dense_weight(get_linear(both, 0, "q")) == 0).any()


def test_a_sparse_encoder_can_be_factored(noise: Path) -> None:
    half = compress(small_encoder(), "magnitude", granularity="weight", sparsity=0.2)
    for rank in ("learned", "uniform"):
        result = pruned(half, noise, stages="factor,distil", rank=rank, sparsity=0.2)
        assert reached(result, half) == pytest.approx(0.2, abs=0.01)


def test_the_nuclear_term_lowers_the_norm(noise: Path) -> None:
    norms = {}
    for mu in (0.0, 1.0):
        result = pruned(
            small_encoder(), noise, stages="prune", sparsity=0.3, mu=mu, steps=12, prune_ramp=0.2
        )
        linears = [get_linear(result, layer, name) for layer in range(2) for name in LINEARS]
        values = [torch.linalg.svdvals(dense_weight(linear)) for linear in linears]
        norms[mu] = sum(float(own.sum()) for own in values)
    assert norms[1.0] < norms[0.0]


def test_a_killed_run_ends_with_the_same_weights(
    noise: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = pruned(small_encoder(), noise, sparsity=0.3)
    real = learned.AudioBatches.iterate
    seen = []

    def killed(self: Any, first: int, *rest: Any) -> Any:
        for number, batch in enumerate(real(self, first, *rest), start=first):
            seen.append(number)
            if len(seen) in (4, 11):  # in step 3 of pruning, and with the factors
                raise KeyboardInterrupt
            yield batch

    monkeypatch.setattr(learned.AudioBatches, "iterate", killed)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            pruned(small_encoder(), noise, sparsity=0.3, work=tmp_path)
    monkeypatch.undo()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["factor", "prune"]
    resumed = pruned(small_encoder(), noise, sparsity=0.3, work=tmp_path)
    assert fingerprint(resumed) == fingerprint(whole)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"stages": "factor,prune"}, "stages must be in the order prune, factor, distil"),
        ({"stages": "distil"}, "stages needs prune or factor"),
        ({"stages": "prune", "prune_sparsity": 0.2}, "prune_sparsity needs both of the stages"),
        ({"sparsity": 0.95}, r"sparsity 0\.95 cannot be reached"),
        ({"sparsity": 0.95, "stages": "factor"}, r"sparsity 0\.95 cannot be reached"),
    ],
)
def test_bad_settings_are_one_line(noise: Path, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        pruned(small_encoder(), noise, **settings)


def test_the_defaults_are_a_full_schedule() -> None:
    defaults = available()["prune_low_rank"].defaults()
    assert defaults["steps"] == 50_000
    assert defaults["nuclear"] == "fast"
    assert defaults["stages"] == ("prune", "factor", "distil")
