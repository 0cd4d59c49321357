"""Speed at HuBERT-base's size in PyTorch, ONNX Runtime and OpenVINO, dense and pruned, in one run.

    python benchmarks/deployed_speed.py --threads 1 --output out/deployed_speed.json

The models have random weights: dense, and pruned to 4 heads, 700 FFN units and 384 convolution
channels. All take turns on the same noise. A ratio is the median over rounds, with a bootstrap
interval: over transformers' dense `HubertModel`, and over ours, whose linears are packed for oneDNN
where that is faster.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import torch
from common import write_result
from encoder_speed import transformers_model

from s3prl_compress.encoder import NAMED_SHAPES, SpeechEncoder, macs, random_encoder
from s3prl_compress.encoder.exported import load_exported
from s3prl_compress.encoder.exporters import ExportOptions, Speech, find_export_target
from s3prl_compress.encoder.inference import inference_copy
from s3prl_compress.encoder.packed import packing_pays
from s3prl_compress.latency.loop import Forward, interleaved
from s3prl_compress.latency.plan import Bucket
from s3prl_compress.latency.ratios import interquartile_range, median, paired_ratio

AGAINST = ("transformers, dense", "dense")
FORMS = (
    ("onnx", "float32"),
    ("onnx", "int8"),
    ("openvino", "float32"),
    ("openvino", "bfloat16"),
    ("openvino", "int8"),
    ("openvino", "int8_bfloat16"),
)


def exported(encoder: SpeechEncoder, folder: Path, noise: torch.Tensor) -> dict[str, Forward]:
    """Write an encoder in all forms, without measuring their errors, and load them."""
    sides: dict[str, Forward] = {}
    for format, dtype in FORMS:
        target, suffix = find_export_target(format), ".onnx" if format == "onnx" else ""
        path = folder / f"{format}.{dtype}{suffix}"
        # Noise is enough here: speed does not depend on the scales that are found on it.
        speech = Speech([noise[: 2 * 16_000]], "noise") if dtype.startswith("int8") else None
        options = ExportOptions(dtype=dtype, states="last", speech=speech, error_limit=100.0)
        target.write(encoder, path, options)
        sides[f"pruned, {format} {dtype}"] = load_exported(path)
        print(f"written: {path.name}", flush=True)
    return sides


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--warmup", type=int, default=1)
    parser.add_argument("--seconds", type=int, default=10, help="of audio")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)

    samples = given.seconds * 16_000
    noise = 0.1 * torch.randn(samples, generator=torch.Generator().manual_seed(0))
    dense = random_encoder(NAMED_SHAPES["hubert_base"]).eval()
    pruned = random_encoder(NAMED_SHAPES["hubert_base_pruned"]).eval()
    fewer = macs(dense.shape, [samples]) / macs(pruned.shape, [samples])
    with tempfile.TemporaryDirectory() as folder:
        sides: dict[str, Forward] = {
            "transformers, dense": transformers_model(dense.state_dict(), "cpu"),
            "dense": inference_copy(dense),
            "pruned": inference_copy(pruned),
            **exported(pruned, Path(folder), noise),
        }
        times = interleaved(
            sides,
            [Bucket("all", ((noise,),))],
            repeats=given.repeats,
            warmup=given.warmup,
            device="cpu",
        )
    linears = "oneDNN" if packing_pays() else "torch"
    print(f"\npruned: {fewer:.2f} x fewer multiply-adds; linears in PyTorch by {linears}\n")
    figures: list[dict[str, Any]] = []
    for side in sides:
        taken = times[f"all/{side}"]
        row: dict[str, Any] = {"side": side, "seconds": median(taken)}
        text = f"{side:30} {median(taken):7.3f} s (IQR {interquartile_range(taken):.3f})"
        for against in AGAINST:
            pair = paired_ratio(taken, times[f"all/{against}"])
            low, high = pair.interval
            row[f"over {against}"] = (pair.ratio, low, high)
            text += f"   {pair.ratio:5.2f} x {low:5.2f} to {high:5.2f} over {against}"
        figures.append(row)
        print(text)
    write_result(given.output, {"fewer_macs": fewer, "linears": linears, "sides": figures})


if __name__ == "__main__":
    main()
