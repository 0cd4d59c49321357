"""An encoder whose units have gates: it runs whole, with closed units masked, and shrinks to them.

Masks go into weights, which is cheaper than into activations: rows of q; columns of out, of fc2,
of the next convolution and of the projection. A LayerNorm over convolution channels takes its
statistics over open channels only, so that the masked encoder in eval mode is the shrunk one.
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
from ..encoder.shape import LINEARS
from .channels import UnitKind, groups_of, importance
from .cutting import conv_parameters, select_units
from .gate_layout import GateKind, gate_sizes, selection_of_gates
from .gates import HardConcrete
from .rebuild import get_linear, linear_name, rebuild

UNIT_KINDS: tuple[UnitKind, ...] = ("qk", "vo", "ffn")


class MaskedEncoder(nn.Module):
    """A copy of an encoder with one gate per unit; is called as the encoder is.

    Args:
        encoder: with dense linears only; left as it is.
        drops: which kinds of units have gates, and `HardConcrete`'s `drop` of each, from which
            they start.
        straight_through: gates are 0 or 1; else survivors are scaled, which `pruned` folds in.

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
    def start_by_magnitude(self, spread: float) -> None:
        """Start the gates of weak units closer to closing than those of strong ones.

        Moves log_alpha by `spread` times how many standard deviations the unit's magnitude
        (`channels.importance`) is above the mean of its head or FFN. The only unit of a head or
        an FFN starts as it would without.
        """
        for kind in (kind for kind in UNIT_KINDS if kind in self.gates):
            starts = [sum(self.sizes[kind][:layer]) for layer in range(len(self.shape.layers))]
            for group in groups_of(self.shape, (kind,)):  # a unit on its own has no rivals
                scores = importance(self.encoder, group)
                scores = (scores - scores.mean()) / scores.std(correction=0).clamp(min=1e-12)
                first = starts[group.layer] + group.start
                self.gate(kind).log_alpha[first : first + group.size].add_(spread * scores)

    @torch.no_grad()
    def add_start_noise(self, deviation: float, seed: int) -> None:
        """Add Gaussian noise to all `log_alpha`, the same for the same seed on every device."""
        generator = torch.Generator().manual_seed(seed)
        for kind in self.gates:
            log_alpha = self.gate(kind).log_alpha
            noise = deviation * torch.randn(log_alpha.shape, generator=generator)
            log_alpha.add_(noise.to(log_alpha.device))

    def gate(self, kind: str) -> HardConcrete:
        """Return the gates of a kind of units."""
        found = self.gates[kind]
        assert isinstance(found, HardConcrete)
        return found

    def expected_sparsity(self) -> Tensor:
        """Return 1 - E[parameters] / parameters; coarse and fine probabilities are multiplied."""
        return 1 - self._expected_parameters() / self._total

    def kept(self) -> dict[GateKind, Tensor]:
        """Return which units of each kind of gate stay in eval mode, [units] bool."""
        return {kind: self.gate(kind).hard() for kind in self.gates}  # type: ignore[misc]

    def log_alpha(self, kind: GateKind) -> Tensor:
        """Return the location of each gate of a kind, [units]; the larger, the surer to stay."""
        return self.gate(kind).log_alpha.detach()

    def set_gates(self, kept: Mapping[GateKind, Tensor]) -> None:
        """Fix which units stay in eval mode, a bool per gate on any device."""
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
        """Return the weights that differ from the encoder's own, by name."""
        encoder = self.encoder
        vo, ffn = self._rows_of_out(gates), self._rows_of_fc2(gates)
        tensors: dict[str, Tensor] = {}
        qk = gates["qk"].split(self.sizes["qk"]) if "qk" in gates else None
        for number in range(len(self.shape.layers)):
            if qk is not None:
                weight, bias = (f"{linear_name(number, 'q')}.{part}" for part in ("weight", "bias"))
                tensors[weight] = encoder.get_parameter(weight) * qk[number][:, None]
                tensors[bias] = encoder.get_parameter(bias) * qk[number]
            for columns, short in ((vo, "out"), (ffn, "fc2")):
                if columns is not None:
                    weight = f"{linear_name(number, short)}.weight"
                    tensors[weight] = encoder.get_parameter(weight) * columns[number]
        if "conv" in gates:
            tensors |= self._masked_front_end(gates["conv"].split(self.sizes["conv"]))
        return tensors

    def _rows_of_out(self, gates: Mapping[str, Tensor]) -> tuple[Tensor, ...] | None:
        """Return what scales the columns of each layer's out, [vo]; None for nothing."""
        head = gates.get("head")
        if "attention" in gates:
            block = gates["attention"][self.layer_of_head]
            head = block if head is None else head * block
        fine = gates.get("vo")
        if head is not None:
            fine = head[self.head_of_vo] if fine is None else fine * head[self.head_of_vo]
        return None if fine is None else fine.split(self.sizes["vo"])

    def _rows_of_fc2(self, gates: Mapping[str, Tensor]) -> tuple[Tensor, ...] | None:
        fine = gates.get("ffn")
        if "ffn_block" in gates:
            block = gates["ffn_block"][self.layer_of_unit]
            fine = block if fine is None else fine * block
        return None if fine is None else fine.split(self.sizes["ffn"])

    def _masked_front_end(self, gates: Sequence[Tensor]) -> dict[str, Tensor]:
        tensors = {}
        for number, own in enumerate(gates[:-1], start=1):
            name = f"feature_extractor.conv_layers.{number}.conv.weight"
            tensors[name] = self.encoder.get_parameter(name) * own[:, None]
        # A soft gate scales an open channel; whether it is open has no gradient.
        members = [(own > 0).to(own.dtype) if self.soft else own for own in gates]
        *conv_norms, last = self._norms
        for norm, member in zip(conv_norms, members, strict=False):  # base models have none
            norm.member = member if len(member) else None
        if len(gates[-1]):  # without a projection the last convolution has no gates
            last.member = members[-1]
            last.scale = gates[-1] if self.soft else None
            name = "feature_projection.projection.weight"
            tensors[name] = self.encoder.get_parameter(name) * members[-1]
        return tensors

    def _expected_parameters(self) -> Tensor:
        """Return the expected number of parameters, which is exact where gates are certain."""
        open_: dict[str, Tensor] = {kind: self.gate(kind).open_probability() for kind in self.gates}
        row, pair = 2 * (self.shape.hidden + 1), 2 * self.shape.hidden + 1
        heads = self.encoder.masked_spec_embed.new_ones(sum(self.sizes["head"]))
        heads = heads * open_.get("head", heads)
        if "attention" in open_:
            heads = heads * open_["attention"][self.layer_of_head]
        qk, vo = heads[self.head_of_qk], heads[self.head_of_vo]
        qk, vo = qk * open_.get("qk", 1.0), vo * open_.get("vo", 1.0)
        units = heads.new_ones(sum(self.sizes["ffn"])) * open_.get("ffn", 1.0)
        if "ffn_block" in open_:
            units = units * open_["ffn_block"][self.layer_of_unit]
        lost = row * (len(qk) - qk.sum()) + pair * (len(vo) - vo.sum())
        lost = lost + pair * (len(units) - units.sum())
        if self.shape.relative_position is not None:
            lost = lost + len(heads) - heads.sum()
        if "conv" in open_:
            own = open_["conv"].split(self.sizes["conv"])
            now = [conv.width for conv in self.shape.convs]
            expected = [p.sum() if len(p) else width for p, width in zip(own, now, strict=True)]
            before = conv_parameters(self.shape, now)
            lost = lost + before - conv_parameters(self.shape, expected)
        return self._total - lost


class MaskedLayerNorm(nn.LayerNorm):
    """LayerNorm whose statistics are those of the channels that are open."""

    member: Tensor | None = None
    """1 for open and 0 for closed channels, [channels]; None for all open."""
    scale: Tensor | None = None
    """What channels are multiplied by first, [channels]."""

    def forward(self, x: Tensor) -> Tensor:
        """Map [..., channels] to the same; closed channels come out as they may."""
        if self.member is None:
            return super().forward(x)
        x = x.float() if self.scale is None else x.float() * self.scale
        count = self.member.sum().clamp(min=1)
        centred = x - (x * self.member).sum(-1, keepdim=True) / count
        variance = (centred.square() * self.member).sum(-1, keepdim=True) / count
        return centred * torch.rsqrt(variance + self.eps) * self.weight + self.bias


def _replace_norms(encoder: SpeechEncoder) -> list[MaskedLayerNorm]:
    """Put a `MaskedLayerNorm` wherever convolution channels are normalised; return them."""
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
                    f"gates: {name} of layer {number} is stored as {type(linear).__name__}; prune "
                    "units first, and factor, share or thin out what is left"
                )
