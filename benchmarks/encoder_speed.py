"""Speed of the encoder: dense compared with transformers' HubertModel, pruned with dense.

    python benchmarks/encoder_speed.py --output out/encoder_speed.json

All models take turns in one run on 10 s of noise. Ours are those that are timed everywhere: linears
packed for oneDNN where that is faster. A ratio is the median over pairs, with a bootstrap interval.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from common import write_result

import s3prl_compress  # noqa: F401  (before transformers: torchaudio's stand-in)
from s3prl_compress.encoder import NAMED_SHAPES, macs, random_encoder
from s3prl_compress.encoder.inference import inference_copy
from s3prl_compress.latency.loop import Forward, interleaved
from s3prl_compress.latency.plan import Bucket
from s3prl_compress.latency.ratios import interquartile_range, median, paired_ratio

SECONDS = 10


def transformers_model(weights: dict[str, torch.Tensor], device: str) -> Forward:
    """Return transformers' HubertModel (SDPA) with the same weights."""
    from transformers import HubertConfig, HubertModel

    config = HubertConfig()
    config._attn_implementation = "sdpa"
    model = HubertModel(config).eval()
    model.load_state_dict(weights)
    model.to(device)
    return lambda waveforms: model(torch.stack(waveforms), output_hidden_states=True)


def bucket(batch_size: int, device: str) -> Bucket:
    generator = torch.Generator().manual_seed(0)
    noise = 0.1 * torch.randn(batch_size, SECONDS * 16_000, generator=generator)
    return Bucket(f"batch {batch_size}", (tuple(noise.to(device)),))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--warmup", type=int, default=3)
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)

    dense = random_encoder(NAMED_SHAPES["hubert_base"]).eval().to(arguments.device)
    pruned = random_encoder(NAMED_SHAPES["hubert_base_pruned"]).eval().to(arguments.device)
    sides: dict[str, Forward] = {
        "transformers": transformers_model(dense.state_dict(), arguments.device),
        "dense": inference_copy(dense, arguments.device),
        "pruned": inference_copy(pruned, arguments.device),
    }
    samples = [SECONDS * 16_000]
    fewer = macs(dense.shape, samples) / macs(pruned.shape, samples)
    print(f"pruned: 4 heads, 700 FFN units, 384 conv channels, {fewer:.2f} x fewer MACs\n")

    figures = []
    for size in arguments.batch_sizes:
        one = bucket(size, arguments.device)
        times = interleaved(
            sides,
            [one],
            repeats=arguments.repeats,
            warmup=arguments.warmup,
            device=arguments.device,
        )
        taken = {side: times[f"{one.name}/{side}"] for side in sides}
        for side, values in taken.items():
            print(
                f"{one.name:8}  {side:13} {median(values):7.3f} s  "
                f"(interquartile range {interquartile_range(values):.3f} s)"
            )
        for this, against, wanted in (
            ("dense", "transformers", "at least 1.5 where packing pays, 0.98 elsewhere"),
            ("pruned", "transformers", "at least 3 where packing pays"),
            ("pruned", "dense", "at least 2.1, the aim is 2.4"),
        ):
            pair = paired_ratio(taken[this], taken[against])
            low, high = pair.interval
            print(
                f"{one.name:8}  {this} is {pair.ratio:.2f} x faster than {against} "
                f"[{low:.2f}, {high:.2f}] (wanted: {wanted})"
            )
            figures.append(
                {
                    "batch_size": size,
                    "this": this,
                    "against": against,
                    "speedup": pair.ratio,
                    "interval": pair.interval,
                    "this_seconds": taken[this],
                    "against_seconds": taken[against],
                }
            )
    write_result(arguments.output, figures, arguments.device)


if __name__ == "__main__":
    main()
