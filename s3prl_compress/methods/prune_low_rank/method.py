"""Unstructured pruning, then low-rank factors with learned ranks."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from ...distillation import (
    DistillationLoss,
    FinalDistillationConfig,
    build_distillation_loss,
    distill,
    final_distillation,
    gate_param_groups,
)
from ...encoder.cost import nonzero_parameters
from ...encoder.linear import DenseLinear, SparseLinear
from ...encoder.model import SpeechEncoder
from ...surgery.budget import Counts, RemovalOrder, find_sparsity
from ...surgery.parametrized import check_budget, kept_budget, linears_of, with_dense_linears
from ...surgery.setting_types import Sparsity
from ...training import SparsityPenalty, Stage
from ...training.sparsity import SparsityLagrangian
from ..low_rank import LowRankConfig, low_rank
from ..registry import register
from .factored import FactoredEncoder
from .gradual_pruning import CubicSchedule, GradualPruning, MaskedWeights
from .nuclear import NuclearForm

Part = Literal["prune", "factor", "distil"]

PARTS: tuple[Part, ...] = ("prune", "factor", "distil")


class PruneLowRankConfig(FinalDistillationConfig):
    """Settings of pruning then low rank; `steps`, `learning_rate`, `warmup` are pruning's."""

    sparsity: Sparsity = 0.5
    """Fraction of the given encoder's stored parameters to remove, between 0 and 1."""
    stages: tuple[Part, ...] = PARTS
    """Which stages to run, for ablations, separated by commas. prune: prune weights, which alone
    gives sparse linears; factor: factor the pruned or the given matrices; distil: distil the
    result."""
    prune_sparsity: Sparsity | None = None
    """Fraction of the parameters that the stage prune removes before matrices are factored. The
    default is `sparsity`."""
    prune_ramp: float = Field(default=0.5, gt=0, le=1)
    """Fraction of `steps` during which weights are removed, on a cubic schedule. The remaining
    updates train with the final masks."""
    masks: int = Field(default=100, ge=1)
    """Smallest number of times that masks are computed while weights are removed, each time at the
    beginning of an update. With fewer updates than that, they are computed in every update."""
    scope: Literal["global", "layer"] = "global"
    """How pruning is distributed. global: one threshold for all matrices; layer: the same fraction
    of each matrix."""
    nuclear: NuclearForm = "fast"
    """Nuclear norm that is added to the loss once masks are final. fast: an upper bound; exact;
    none."""
    mu: float = Field(default=0.01, ge=0)
    """Weight of the nuclear norm in the loss."""
    rank: Literal["learned", "energy", "uniform"] = "learned"
    """How ranks are chosen. learned: by a gate for each singular value; energy and uniform: as the
    method low_rank does, without training."""
    gate_start: Literal["energy", "open"] = "energy"
    """Initial state of the gates. energy: gates of small singular values start closed, so that the
    target is met from the start; open: all start open, and the target sparsity rises."""
    factor_steps: int | None = Field(default=None, ge=1)
    """Number of optimizer updates of the stage factor. The default is half of `steps`."""
    factor_ramp: float = Field(default=0.1, ge=0, le=1)
    """Fraction of `factor_steps` during which the target sparsity rises linearly, if gates start
    open."""
    gate_learning_rate: float | None = Field(default=None, gt=0)
    """Peak learning rate of the gates. The default is 0.02, or 40 / factor_steps if that is
    larger."""
    multiplier_learning_rate: float | None = Field(default=None, gt=0)
    """Peak learning rate of the multipliers of the Lagrangian, which are maximised. The default is
    0.02, or 400 / factor_steps if that is larger."""

    @field_validator("stages", mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        return tuple(part.strip() for part in value.split(",")) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _in_their_order(self) -> PruneLowRankConfig:
        if self.stages != tuple(part for part in PARTS if part in self.stages):
            raise ValueError(f"stages must be in the order {', '.join(PARTS)}, each once")
        if not {"prune", "factor"} & set(self.stages):
            raise ValueError("stages needs prune or factor to meet the target")
        if self.prune_sparsity is not None and not {"prune", "factor"} <= set(self.stages):
            raise ValueError("prune_sparsity needs both of the stages prune and factor")
        return self

    def factor_stage(self) -> Stage:
        """Return the stage in which factors and gates are trained."""
        steps = self.factor_steps or max(1, self.steps // 2)
        rules = gate_param_groups(steps, self.gate_learning_rate, self.multiplier_learning_rate)
        return Stage("factor", steps, self.learning_rate, self.warmup, rules)


@register("prune_low_rank", needs="audio", learns=True, version=2)
def prune_low_rank(encoder: SpeechEncoder, config: PruneLowRankConfig) -> SpeechEncoder:
    """Prune weights, factor the sparse matrices, and learn which singular values to keep.

    In the stage prune, weights are removed gradually while the others are distilled from the
    given encoder; a nuclear norm then keeps the rank of the matrices low. In the stage factor,
    every matrix is decomposed once, and a hard-concrete gate for each singular value is trained
    with the factors under a Lagrangian. The singular values whose gates have the largest
    log_alpha are kept, as many as the target allows; a matrix stays dense where factors would
    save nothing. At the end the result is distilled. The method applies to dense and sparse
    linears of the layers. Schedules and constants are ours.

    Reference:
        Wang, Zhang: Unstructured pruning and low rank factorisation of self-supervised
        pre-trained speech models, IEEE JSTSP 18(6), 2024, doi 10.1109/JSTSP.2024.3433616.
    """
    result = encoder
    distance = build_distillation_loss(encoder, encoder.shape, config)
    if "prune" in config.stages:
        result = _prune(encoder, config, distance)
    if "factor" in config.stages:
        result = _factor(result, encoder, config, distance)
    if "distil" in config.stages:
        result = final_distillation(result, encoder, config, config.final_stage(), distance)
    return result.eval()


def _prune(
    encoder: SpeechEncoder, config: PruneLowRankConfig, distance: DistillationLoss
) -> SpeechEncoder:
    """Return the pruned encoder: with zeros in dense linears if factors follow, else sparse."""
    sparsity = config.prune_sparsity or config.sparsity
    places = list(linears_of(encoder, (DenseLinear, SparseLinear)))
    check_budget("prune_low_rank", encoder, places, sparsity)
    student = MaskedWeights(with_dense_linears(encoder, places), places)
    steps = max(1, round(config.prune_ramp * config.steps))
    schedule = CubicSchedule(
        first=kept_budget(encoder, places, 0.0),
        last=kept_budget(encoder, places, sparsity),
        steps=steps,
        every=max(1, steps // config.masks),
    )
    pruning = GradualPruning(
        schedule,
        together=config.scope == "global",
        nuclear=config.nuclear,
        mu=config.mu,
        total=nonzero_parameters(encoder),
    )
    distill(student, encoder, config, config.stage("prune"), pruning, distance)
    return student.with_zeros() if "factor" in config.stages else student.pruned()


def _factor(
    pruned: SpeechEncoder,
    encoder: SpeechEncoder,
    config: PruneLowRankConfig,
    distance: DistillationLoss,
) -> SpeechEncoder:
    """Return `pruned` with factored linears, smaller than `encoder` by the target."""
    places = list(linears_of(pruned, (DenseLinear, SparseLinear)))
    dense = with_dense_linears(pruned, places)
    total = nonzero_parameters(encoder)
    if config.rank != "learned":
        # low_rank counts against what `dense` stores, which includes the zeros of pruning; the
        # target refers to what the given encoder stores.
        sparsity = 1 - (1 - config.sparsity) * total / nonzero_parameters(dense)
        return low_rank(dense, LowRankConfig(sparsity=sparsity, allocation=config.rank))
    student = FactoredEncoder(dense, places, total)
    stage = config.factor_stage()
    _choose_ranks(student, config.sparsity)  # fails before training if the target cannot be met
    if config.gate_start == "energy":
        student.init_gates_by_energy(config.sparsity)
        control = SparsityLagrangian(config.sparsity, 0)
    else:
        control = SparsityLagrangian(
            config.sparsity,
            round(config.factor_ramp * stage.steps),
            start=student.expected_sparsity().item(),
        )
    distill(student, encoder, config, stage, SparsityPenalty(control), distance)
    counts = _choose_ranks(student, config.sparsity)
    return student.pruned(dict(zip(student.places, counts, strict=True)))


def _choose_ranks(student: FactoredEncoder, sparsity: float) -> list[int]:
    """Return how many singular values of each linear to keep."""
    keys = student.ranking()
    sizes = [student.stored_sizes(place) for place in student.places]

    def stored(counts: Counts) -> int:
        return student.others + sum(
            int(own[-1 - removed]) for own, removed in zip(sizes, counts.tolist(), strict=True)
        )

    order = RemovalOrder([own[:-1] for own in keys])  # at least one singular value remains
    counts = find_sparsity("prune_low_rank", sparsity, student.total, order, stored)
    return [len(own) - removed for own, removed in zip(keys, counts.tolist(), strict=True)]
