"""Unstructured pruning, then low rank: a sparse model is pruned into one that factors well."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from ...distillation.config import FinalDistillationConfig
from ...distillation.distill import distill, final_distillation
from ...distillation.gated import gate_rules
from ...distillation.layers import DistillationLoss
from ...distillation.losses import build_distillation_loss
from ...encoder.cost import nonzero_parameters
from ...encoder.linear import DenseLinear, SparseLinear
from ...encoder.model import SpeechEncoder
from ...surgery.budget import Counts, RemovalOrder, find_sparsity
from ...surgery.parametrized import check_budget, kept_budget, linears_of, with_dense_linears
from ...surgery.setting_types import Sparsity
from ...training.penalty import SparsityPenalty
from ...training.sparsity import SparsityLagrangian
from ...training.stages import Stage
from ..low_rank import LowRankConfig, low_rank
from ..registry import register
from .factored import FactoredEncoder
from .gradual import GradualPruning, MaskedWeights, Ramp
from .nuclear import NuclearForm

Part = Literal["prune", "factor", "distil"]

PARTS: tuple[Part, ...] = ("prune", "factor", "distil")


class PruneLowRankConfig(FinalDistillationConfig):
    """Settings of pruning then low rank; `steps`, `learning_rate`, `warmup` are pruning's."""

    sparsity: Sparsity = 0.5
    """Fraction of the parameters that the encoder stores which goes."""
    stages: tuple[Part, ...] = PARTS
    """Which parts are done, for ablations: prune (and stop there: sparse linears), factor (of
    what pruning left, or of the encoder as it is), distil (what there is then)."""
    prune_sparsity: Sparsity | None = None
    """Fraction of the parameters that pruning takes before factors are made; by default
    `sparsity`."""
    prune_ramp: float = Field(default=0.5, gt=0, le=1)
    """Fraction of `steps` during which the number of weights falls, on a cubic schedule, to that
    of `prune_sparsity`. The remaining steps train with the final masks."""
    masks: int = Field(default=100, ge=1)
    """Least number of times that masks are computed during the ramp, each time at the beginning
    of an update; with every update in a ramp of fewer updates than that."""
    scope: Literal["global", "layer"] = "global"
    """global: one threshold for all matrices; layer: the same fraction of each."""
    nuclear: NuclearForm = "fast"
    """Form of the nuclear norm that is added once the ramp is over: fast (an upper bound), exact,
    or none."""
    mu: float = Field(default=0.01, ge=0)
    """Its weight."""
    rank: Literal["learned", "energy", "uniform"] = "learned"
    """learned: a gate for each singular value; energy and uniform: those of the method low_rank,
    which need no training."""
    gate_start: Literal["energy", "open"] = "energy"
    """energy: gates of weak singular values start closed, so that the target holds from the start;
    open: all start open, and the target rises."""
    factor_steps: int | None = Field(default=None, ge=1)
    """Updates of factors and gates; by default half as many as `steps`."""
    factor_ramp: float = Field(default=0.1, ge=0, le=1)
    """Fraction of these in which the target rises, where gates start open."""
    gate_learning_rate: float | None = Field(default=None, gt=0)
    """Of the gates, at its peak; by default as `structured` has it, 0.02 or 40 / factor_steps,
    whichever is more."""
    multiplier_learning_rate: float | None = Field(default=None, gt=0)
    """Of the sparsity control's multipliers, which maximize; by default 0.02 or 400 / factor_steps,
    whichever is more."""

    @field_validator("stages", mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        return tuple(part.strip() for part in value.split(",")) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _in_their_order(self) -> PruneLowRankConfig:
        if self.stages != tuple(part for part in PARTS if part in self.stages):
            raise ValueError(f"stages come in the order {', '.join(PARTS)}, each once")
        if not {"prune", "factor"} & set(self.stages):
            raise ValueError("stages needs prune or factor, to meet the target")
        if self.prune_sparsity is not None and not {"prune", "factor"} <= set(self.stages):
            raise ValueError("prune_sparsity goes with the stages prune and factor")
        return self

    def factor_stage(self) -> Stage:
        """Return the stage in which factors and gates learn."""
        steps = self.factor_steps or max(1, self.steps // 2)
        rules = gate_rules(steps, self.gate_learning_rate, self.multiplier_learning_rate)
        return Stage("factor", steps, self.learning_rate, self.warmup, rules)


@register("prune_low_rank", needs="audio", learns=True, version=2)
def prune_low_rank(encoder: SpeechEncoder, config: PruneLowRankConfig) -> SpeechEncoder:
    """Prune weights, factor the sparse matrices, and learn which singular values stay.

    The weights that gradual pruning leaves learn to imitate the given encoder while the nuclear
    norm keeps their rank low. Then every matrix is decomposed once; a hard-concrete gate for each
    singular value learns with the factors under sparsity control. The gates with the largest
    log_alpha stay, as many as the target allows; a matrix stays dense where factors do not pay.
    At the end what is left is distilled. Acts on the dense and the sparse linears of the layers.
    Schedules and constants are ours.

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
    ramp = Ramp(
        first=kept_budget(encoder, places, 0.0),
        last=kept_budget(encoder, places, sparsity),
        steps=steps,
        every=max(1, steps // config.masks),
    )
    pruning = GradualPruning(
        ramp,
        together=config.scope == "global",
        nuclear=config.nuclear,
        mu=config.mu,
        total=nonzero_parameters(encoder),
    )
    distill(student, encoder, config, config.stage("prune"), pruning, distance)
    return student.with_zeros() if "factor" in config.stages else student.hardened()


def _factor(
    pruned: SpeechEncoder,
    encoder: SpeechEncoder,
    config: PruneLowRankConfig,
    distance: DistillationLoss,
) -> SpeechEncoder:
    """Return the encoder with factors, smaller than `encoder` by the target."""
    places = list(linears_of(pruned, (DenseLinear, SparseLinear)))
    dense = with_dense_linears(pruned, places)
    total = nonzero_parameters(encoder)
    if config.rank != "learned":
        # The target counts what the given encoder stores; zeros in dense linears are more.
        sparsity = 1 - (1 - config.sparsity) * total / nonzero_parameters(dense)
        return low_rank(dense, LowRankConfig(sparsity=sparsity, allocation=config.rank))
    student = FactoredEncoder(dense, places, total)
    stage = config.factor_stage()
    _choose_ranks(student, config.sparsity)  # a target that cannot be met is found before training
    if config.gate_start == "energy":
        student.start_by_energy(config.sparsity)
        control = SparsityLagrangian(config.sparsity, 0)
    else:
        control = SparsityLagrangian(
            config.sparsity,
            round(config.factor_ramp * stage.steps),
            start=student.expected_sparsity().item(),
        )
    distill(student, encoder, config, stage, SparsityPenalty(control), distance)
    counts = _choose_ranks(student, config.sparsity)
    return student.hardened(dict(zip(student.places, counts, strict=True)))


def _choose_ranks(student: FactoredEncoder, sparsity: float) -> list[int]:
    """Return how many singular values of each linear stay; the gates say which."""
    keys = student.ranking()
    sizes = [student.stored_sizes(place) for place in student.places]

    def stored(counts: Counts) -> int:
        return student.others + sum(
            int(own[-1 - gone]) for own, gone in zip(sizes, counts.tolist(), strict=True)
        )

    order = RemovalOrder([own[:-1] for own in keys])  # one singular value always stays
    counts = find_sparsity("prune_low_rank", sparsity, student.total, order, stored)
    return [len(own) - gone for own, gone in zip(keys, counts.tolist(), strict=True)]
