"""Cost of unequal head sizes: speed of `structured`'s ways to round them, at equal parameters.

    python benchmarks/head_sizes.py --output out/head_sizes.json

The gates of a random HuBERT-base are drawn so that heads differ in strength as learned ones do.
They are binarized to one target in four ways: unrounded (the encoder pads q, k and v of a layer to
its largest head), in multiples of 8, equal within a layer, and both. All results have the same
number of parameters. They take turns on noise; a ratio is the speed relative to the unrounded
model, as the median over pairs with a bootstrap interval.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from common import write_result

from s3prl_compress.encoder import NAMED_SHAPES, SAMPLING_RATE, SpeechEncoder, random_encoder
from s3prl_compress.encoder.cost import cost
from s3prl_compress.latency.loop import interleaved
from s3prl_compress.latency.plan import Bucket
from s3prl_compress.latency.ratios import interquartile_range, median, paired_ratio
from s3prl_compress.surgery.binarize import Rounding, choose_units
from s3prl_compress.surgery.gate_layout import GateKind
from s3prl_compress.surgery.masked import MaskedEncoder

WAYS = {
    "as learned": Rounding(),
    "multiples of 8": Rounding(head_multiple=8),
    "equal heads": Rounding(equal_heads=True),
    "equal, multiples of 8": Rounding(head_multiple=8, equal_heads=True),
}
UNITS: tuple[GateKind, ...] = ("qk", "vo", "head", "ffn")
BETWEEN = 1.0
"""Standard deviation of the strength of heads and layers; that of gates inside them is 1."""


def drawn_gates(dense: SpeechEncoder) -> MaskedEncoder:
    """Return the encoder with gates of random strength."""
    masked = MaskedEncoder(dense, dict.fromkeys(UNITS, 0.01), straight_through=True)
    random = torch.Generator().manual_seed(0)

    def normal(count: int) -> torch.Tensor:
        return torch.randn(count, generator=random)

    heads = BETWEEN * normal(len(masked.layer_of_head))
    layers = BETWEEN * normal(len(dense.shape.layers))
    of_owner = {
        "qk": heads[masked.head_of_qk],
        "vo": heads[masked.head_of_vo],
        "head": heads + 3,  # a whole head goes later than most of its dimensions
        "ffn": layers[masked.layer_of_unit],
    }
    with torch.no_grad():
        for kind, mean in of_owner.items():
            masked.gates[kind].log_alpha.copy_(mean + normal(len(mean)))
    return masked


def hardened(dense: SpeechEncoder, sparsity: float) -> dict[str, SpeechEncoder]:
    """Return the encoder that each way of rounding makes from the same gates."""
    found = {}
    for name, rounding in WAYS.items():
        masked = drawn_gates(dense)
        masked.set_gates(choose_units(masked, dense, "structured", sparsity, rounding))
        found[name] = masked.pruned().eval()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sparsity", type=float, default=0.5)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--warmup", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--output", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)

    sides = hardened(random_encoder(NAMED_SHAPES["hubert_base"]).eval(), given.sparsity)
    figures = []
    for name, encoder in sides.items():
        heads = [head for layer in encoder.shape.layers for head in layer.heads]
        size = cost(encoder).parameters
        print(
            f"{name:22} {size / 1e6:.2f} M parameters, {len(heads)} heads, "
            f"largest q and k {max(head.qk for head in heads)}, v {max(head.vo for head in heads)}"
        )
        encoder.to(given.device)
    samples = int(given.seconds * SAMPLING_RATE)
    for count in given.batch_sizes:
        noise = 0.1 * torch.randn(count, samples, generator=torch.Generator().manual_seed(0))
        bucket = Bucket(f"batch {count}", (tuple(noise.to(given.device)),))
        times = interleaved(
            sides, [bucket], repeats=given.repeats, warmup=given.warmup, device=given.device
        )
        plain = times[f"{bucket.name}/as learned"]
        for name in sides:
            taken = times[f"{bucket.name}/{name}"]
            pair = paired_ratio(taken, plain)
            low, high = pair.interval
            print(
                f"{bucket.name:8}  {name:22} {median(taken):7.3f} s (interquartile range "
                f"{interquartile_range(taken):.3f} s), {pair.ratio:.3f} x [{low:.3f}, {high:.3f}]"
            )
            figures.append(
                {
                    "batch_size": count,
                    "rounding": name,
                    "parameters": cost(sides[name]).parameters,
                    "seconds": taken,
                    "speedup": pair.ratio,
                    "interval": pair.interval,
                }
            )
    write_result(given.output, figures, given.device)


if __name__ == "__main__":
    main()
