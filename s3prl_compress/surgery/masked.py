"""An encoder with one gate per unit; `pruned()` removes the closed ones.

Gates multiply weights, which is cheaper than multiplying activations: rows of q; columns of out,
of fc2, of the next convolution and of the projection. A LayerNorm over convolution channels takes
its statistics over open channels only. The masked encoder in eval mode therefore computes exactly
what the pruned encoder computes.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call

from ..common.errors import InputError
from ..encoder.cost import nonzero_parameters
from ..encoder.linear import DenseLinear
from ..encoder.model import SpeechEncoder
from ..encoder.shape import LINEARS, linear_name
from .channels import UnitKind, groups_of, importance
from .cutting import conv_parameters, select_units
from .gate_layout import GateKind, gate_sizes, selection_of_gates
from .gates import HardConcrete
from .rebuild import get_linear, rebuild

UNIT_KINDS: tuple[UnitKind, ...] = ("qk", "vo", "ffn")


class MaskedEncoder(nn.Module):
    """Wraps a copy of an encoder with one gate per unit; is called like the encoder.

    Args:
        encoder: an encoder with dense linears only; it is not changed.
        drops: initial drop probability of the gates of each kind of unit, see `HardConcrete`;
            kinds that are not named have no gates.
        straight_through: gates are 0 or 1 in training. Otherwise they lie in between, open units
            are scaled in eval mode, and `pruned` folds the scales into the weights.

    Raises:
        InputError: the encoder has linears that are not dense.
    """

    head_of_qk: Tensor
    head_of_vo: Tensor
    layer_of_head: Tensor
    layer_of_unit: Tensor

    def __init__(
        self, encoder: SpeechEncoder, drops: Mapping[GateKind, float], *, straight_through: bool
    ) -> None:
        super().__init__()
        _check_dense(encoder)
        if "conv" in drops and not encoder.shape.convs:
            raise InputError(
                f"units: the front end of the family {encoder.shape.family} has no channels that "
                "could be pruned; leave conv out"
            )
        self.shape = encoder.shape
        self.encoder = copy.deepcopy(encoder).requires_grad_(True)
        self.sizes = gate_sizes(encoder.shape)
        self.gates = nn.ModuleDict(
            {
                kind: HardConcrete(
                    sum(self.sizes[kind]),
                    drop=drop,
                    straight_through=straight_through,
                    modules=self.sizes[kind],
                )
                for kind, drop in drops.items()
            }
        ).to(encoder.device)
        self.soft = not straight_through
        self._norms: list[MaskedLayerNorm] = []
        if "conv" in self.gates:
            self._norms = _replace_norms(self.encoder)
        self._total = nonzero_parameters(encoder)
        heads = [head for layer in encoder.shape.layers for head in layer.heads]
        for name, counts in (
            ("head_of_qk", [head.qk for head in heads]),
            ("head_of_vo", [head.vo for head in heads]),
            ("layer_of_head", self.sizes["head"]),
            ("layer_of_unit", self.sizes["ffn"]),
        ):
            owner = torch.repeat_interleave(torch.tensor(counts, dtype=torch.long))
            self.register_buffer(name, owner.to(encoder.device), persistent=False)

    def forward(
        self, waveforms: Sequence[Tensor], masks: Tensor | None = None
    ) -> tuple[tuple[Tensor, ...], Tensor]:
        """Return hidden states and frame counts; see `SpeechEncoder.forward`."""
        tensors = self._masked_tensors({kind: gate() for kind, gate in self.gates.items()})
        result: tuple[tuple[Tensor, ...], Tensor] = functional_call(
            self.encoder, tensors, (waveforms, masks), tie_weights=False
        )
        return result

    @torch.no_grad()
    def init_gates_by_magnitude(self, spread: float) -> None:
        """Add `spread` times each unit's standardised magnitude to its log_alpha.

        Gates of units with small weights then start closer to closing. Magnitudes
        (`channels.importance`) are standardised within each head and FFN; the only unit of a head
        or of an FFN is left alone.
        """
        for kind in (kind for kind in UNIT_KINDS if kind in self.gates):
            starts = [sum(self.sizes[kind][:layer]) for layer in range(len(self.shape.layers))]
            for group in groups_of(self.shape, (kind,)):  # groups of at least two units
                scores = importance(self.encoder, group)
                scores = (scores - scores.mean()) / scores.std(correction=0).clamp(min=1e-12)
                first = starts[group.layer] + group.start
                self.gate(kind).log_alpha[first : first + group.size].add_(spread * scores)

    @torch.no_grad()
    def add_init_noise(self, deviation: float, seed: int) -> None:
        """Add Gaussian noise to all log_alpha; a seed gives the same noise on every device."""
        generator = torch.Generator().manual_seed(seed)
        for kind in self.gates:
            log_alpha = self.gate(kind).log_alpha
            noise = deviation * torch.randn(log_alpha.shape, generator=generator)
            log_alpha.add_(noise.to(log_alpha.device))

    def gate(self, kind: str) -> HardConcrete:
        """Return the gates of one kind of unit."""
        gates = self.gates[kind]
        assert isinstance(gates, HardConcrete)
        return gates

    def expected_sparsity(self) -> Tensor:
        """Return 1 - E[parameters] / parameters, a scalar.

        The gates of a unit, of its head and of its block are taken as independent.
        """
        return 1 - self._expected_parameters() / self._total

    def kept(self) -> dict[GateKind, Tensor]:
        """Return which units of each kind are open in eval mode, [units] bool."""
        return {kind: self.gate(kind).hard() for kind in self.gates}  # type: ignore[misc]

    def log_alpha(self, kind: GateKind) -> Tensor:
        """Return log_alpha of all gates of a kind, [units]; larger means more likely open."""
        return self.gate(kind).log_alpha.detach()

    def set_gates(self, kept: Mapping[GateKind, Tensor]) -> None:
        """Fix which units are open in eval mode, one bool per gate on any device."""
        for kind, wanted in kept.items():
            self.gate(kind).set_gates(wanted)

    def pruned(self) -> SpeechEncoder:
        """Return the encoder without the units that are closed in eval mode."""
        self.eval()
        source = self.encoder
        if self.soft:
            with torch.no_grad():
                tensors = self._masked_tensors({kind: gate() for kind, gate in self.gates.items()})
            if self._norms and (scale := self._norms[-1].scale) is not None:
                old = self.encoder.state_dict().get("feature_extractor.scale")
                tensors["feature_extractor.scale"] = scale if old is None else scale * old
            source = rebuild(self.encoder, {}, tensors=tensors)
        return select_units(source, selection_of_gates(self.shape, self.kept()))

    def _masked_tensors(self, gates: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the weights that differ from the encoder's own, by name.

        Args:
            gates: value of each gate by kind, [units].
        """
        encoder = self.encoder
        vo, ffn = self._scales_of_out(gates), self._scales_of_fc2(gates)
        qk = gates["qk"].split(self.sizes["qk"]) if "qk" in gates else None
        tensors: dict[str, Tensor] = {}
        for number in range(len(self.shape.layers)):
            # A dimension of q and k is closed by its row of q alone: the product is then zero.
            if qk is not None:
                name = linear_name(number, "q")
                weight, bias = f"{name}.weight", f"{name}.bias"
                tensors[weight] = encoder.get_parameter(weight) * qk[number][:, None]
                tensors[bias] = encoder.get_parameter(bias) * qk[number]
            # A dimension of v, or an FFN unit, is closed where the next linear reads it.
            for scales, short in ((vo, "out"), (ffn, "fc2")):
                if scales is not None:
                    weight = f"{linear_name(number, short)}.weight"
                    tensors[weight] = encoder.get_parameter(weight) * scales[number]
        if "conv" in gates:
            tensors |= self._masked_front_end(gates["conv"].split(self.sizes["conv"]))
        return tensors

    def _scales_of_out(self, gates: Mapping[str, Tensor]) -> tuple[Tensor, ...] | None:
        """Return the factors of the columns of each layer's out, [vo]; None if there are none.

        They are the product of the gates of the dimension, of its head and of its block.
        """
        head = gates.get("head")
        if "attention" in gates:
            block = gates["attention"][self.layer_of_head]
            head = block if head is None else head * block
        dimension = gates.get("vo")
        if head is not None:
            of_head = head[self.head_of_vo]
            dimension = of_head if dimension is None else dimension * of_head
        return None if dimension is None else dimension.split(self.sizes["vo"])

    def _scales_of_fc2(self, gates: Mapping[str, Tensor]) -> tuple[Tensor, ...] | None:
        """Return the factors of the columns of each layer's fc2, [ffn]; None if there are none."""
        unit = gates.get("ffn")
        if "ffn_block" in gates:
            block = gates["ffn_block"][self.layer_of_unit]
            unit = block if unit is None else unit * block
        return None if unit is None else unit.split(self.sizes["ffn"])

    def _masked_front_end(self, gates: Sequence[Tensor]) -> dict[str, Tensor]:
        """Return the masked weights of the front end, and tell its norms which channels are open.

        Args:
            gates: values of the gates of each convolution's output channels, [channels].
        """
        tensors = {}
        # A channel is closed where the next convolution reads it.
        for number, own in enumerate(gates[:-1], start=1):
            name = f"feature_extractor.conv_layers.{number}.conv.weight"
            tensors[name] = self.encoder.get_parameter(name) * own[:, None]
        # A soft gate scales an open channel; whether it is open has no gradient.
        members = [(own > 0).to(own.dtype) if self.soft else own for own in gates]
        *conv_norms, last = self._norms
        # Base models normalise no convolution after the first, so there are fewer norms.
        for norm, member in zip(conv_norms, members, strict=False):
            norm.member = member if len(member) else None
        if len(gates[-1]):  # without a projection the last convolution has no gates
            last.member = members[-1]
            last.scale = gates[-1] if self.soft else None
            name = "feature_projection.projection.weight"
            tensors[name] = self.encoder.get_parameter(name) * members[-1]
        return tensors

    def _expected_parameters(self) -> Tensor:
        """Return the expected number of parameters, a scalar; exact where gates are certain."""
        open_: dict[str, Tensor] = {kind: self.gate(kind).open_probability() for kind in self.gates}
        # Probabilities that heads are open, [heads of all layers]: with their block.
        heads = self.encoder.masked_spec_embed.new_ones(sum(self.sizes["head"]))
        heads = heads * open_.get("head", heads)
        if "attention" in open_:
            heads = heads * open_["attention"][self.layer_of_head]
        # Of dimensions inside heads: with their head.
        qk, vo = heads[self.head_of_qk], heads[self.head_of_vo]
        qk, vo = qk * open_.get("qk", 1.0), vo * open_.get("vo", 1.0)
        # Of FFN units: with their block.
        units = heads.new_ones(sum(self.sizes["ffn"])) * open_.get("ffn", 1.0)
        if "ffn_block" in open_:
            units = units * open_["ffn_block"][self.layer_of_unit]
        # A (q, k) dimension has two rows, and the biases that there are; a (v, out) dimension and
        # an FFN unit have a row with its bias, and a column.
        width = self.shape.hidden
        per_qk, per_pair = 2 * width + 1 + self.shape.key_bias, 2 * width + 1
        removed = per_qk * (len(qk) - qk.sum()) + per_pair * (len(vo) - vo.sum())
        removed = removed + per_pair * (len(units) - units.sum())
        if self.shape.relative_position is not None:  # WavLM: one more parameter per head
            removed = removed + len(heads) - heads.sum()
        if "conv" in open_:
            own = open_["conv"].split(self.sizes["conv"])
            now = [conv.width for conv in self.shape.convs]
            expected = [p.sum() if len(p) else width for p, width in zip(own, now, strict=True)]
            before = conv_parameters(self.shape, now)
            removed = removed + before - conv_parameters(self.shape, expected)
        return self._total - removed


class MaskedLayerNorm(nn.LayerNorm):
    """LayerNorm whose statistics are taken over open channels only."""

    member: Tensor | None = None
    """1 for open and 0 for closed channels, [channels]; None if all are open."""
    scale: Tensor | None = None
    """Factors by which channels are multiplied before they are normalised, [channels]."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise `x` [..., channels]; the values of closed channels are meaningless."""
        if self.member is None:
            return super().forward(x)
        x = x.float() if self.scale is None else x.float() * self.scale
        count = self.member.sum().clamp(min=1)
        centred = x - (x * self.member).sum(-1, keepdim=True) / count
        variance = (centred.square() * self.member).sum(-1, keepdim=True) / count
        return centred * torch.rsqrt(variance + self.eps) * self.weight + self.bias


def _replace_norms(encoder: SpeechEncoder) -> list[MaskedLayerNorm]:
    """Replace the LayerNorms over convolution channels in place; return the new ones."""
    norms = []
    for owner in (*encoder.feature_extractor.conv_layers, encoder.feature_projection):
        norm = getattr(owner, "layer_norm", None)
        if isinstance(norm, nn.LayerNorm):
            replaced = MaskedLayerNorm(norm.normalized_shape, eps=norm.eps).to(norm.weight.device)
            replaced.load_state_dict(norm.state_dict())
            owner.layer_norm = replaced
            norms.append(replaced)
    return norms


def _check_dense(encoder: SpeechEncoder) -> None:
    for number in range(len(encoder.shape.layers)):
        for name in LINEARS:
            linear = get_linear(encoder, number, name)
            if not isinstance(linear, DenseLinear):
                raise InputError(
                    f"gates: {name} of layer {number} is stored as {type(linear).__name__}; methods"
                    " with gates need dense linears: apply them before methods that factor, share "
                    "or zero weights"
                )
