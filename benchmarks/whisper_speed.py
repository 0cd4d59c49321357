"""Speed of Whisper's encoder after compression, compared with its multiply-adds.

    python benchmarks/whisper_speed.py --output out/whisper_speed.json

A random model of whisper-base's shape and a smaller one made from it take turns in one run, on
windows of 30 s of noise. `share` is the measured speed-up of the encoder over the ratio of
multiply-adds: 1 means that time follows them exactly, and 0.9 is the least to be expected.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from common import write_result

import s3prl_compress  # noqa: F401  (before transformers: torchaudio's stand-in)
from s3prl_compress.encoder import Provenance
from s3prl_compress.latency import time_table
from s3prl_compress.whisper import Whisper, compress, time_whisper
from s3prl_compress.whisper.cost import encoder_macs
from s3prl_compress.whisper.model import GENERATION_FILE, build_whisper, empty_model
from s3prl_compress.whisper.openai_pt import generation_settings
from s3prl_compress.whisper.shape import dense_shape

WIDTHS = {"tiny": (384, 6, 4), "base": (512, 8, 6)}
"""Width, heads and layers of the published models."""


def random_whisper(size: str) -> Whisper:
    """Return a multilingual model of a published size with random weights."""
    hidden, heads, layers = WIDTHS[size]
    shape = dense_shape(
        hidden=hidden,
        mel_bins=80,
        vocabulary=51865,
        audio_positions=1500,
        text_positions=448,
        encoder_heads=heads,
        decoder_heads=heads,
        encoder_layers=layers,
        decoder_layers=layers,
        encoder_ffn=4 * hidden,
        decoder_ffn=4 * hidden,
    )
    generator = torch.Generator().manual_seed(0)
    tensors = {
        name: 0.02 * torch.randn(tensor.shape, generator=generator)
        for name, tensor in empty_model(shape, {}, size).state_dict().items()
    }
    generation = generation_settings(shape.vocabulary, shape.text_positions)
    files = {GENERATION_FILE: json.dumps(generation).encode()}
    provenance = Provenance(base="random weights (seed 0)", random_weights=True)
    return build_whisper(shape, {}, tensors, files, provenance, size)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=WIDTHS, default="base")
    parser.add_argument("--sparsity", type=float, default=0.5, help="of the encoder's linears")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--warmup", type=int, default=1)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--new-tokens", type=int, default=16)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()

    dense = random_whisper(arguments.size)
    inside = sum(own.numel() for name, own in dense.named_parameters() if _is_encoder_linear(name))
    total = sum(own.numel() for _, own in dense.named_parameters())
    smaller = compress(
        dense, "magnitude", sparsity=arguments.sparsity * inside / total, part="encoder"
    )
    fewer = encoder_macs(dense.shape) / encoder_macs(smaller.shape)
    record = time_whisper(
        smaller,
        dense,
        name="smaller",
        against_name="dense",
        repeats=arguments.repeats,
        warmup=arguments.warmup,
        threads=arguments.threads,
        device=arguments.device,
        batch_size=arguments.batch_size,
        new_tokens=arguments.new_tokens,
    )
    print(time_table(record))
    print(f"\nthe encoder has {fewer:.2f} x fewer multiply-adds")
    figures = {"fewer_macs": fewer, "record": record.model_dump(mode="json")}
    for bucket in record.buckets:
        if bucket.name.startswith("encoder") and bucket.speedup is not None:
            share = bucket.speedup / fewer
            figures[f"share, {bucket.name}"] = share
            print(f"{bucket.name}: {bucket.speedup:.2f} x faster, share {share:.2f}")
    write_result(arguments.output, figures, arguments.device)


def _is_encoder_linear(name: str) -> bool:
    return name.startswith("model.encoder.layers.") and "layer_norm" not in name


if __name__ == "__main__":
    main()
