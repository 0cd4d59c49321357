"""Speed of a distillation step, compared with the same step written plainly with transformers.

    python benchmarks/train_step.py --output out/train_step.json
    python benchmarks/train_step.py --device cuda --batch-seconds 160 --dtype bf16

Teacher and student are dense, of the same shape, with random weights; forward of both, loss,
backward, clipping and AdamW, in turns in one run on the same crops of noise. The plain one is
transformers' HubertModel (SDPA) twice, the teacher in eval mode without gradients; bf16: autocast
over both. Ours is what `compress` runs: with bf16 its teacher's weights are bfloat16, too. Then the
plain step is also timed in float32. A ratio is the median over the pairs, with a bootstrap
interval. Before it is timed, the first loss and the first norm of all gradients are compared: they
are the same step.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from baselines import transformers_model
from common import write_result
from torch import Tensor, nn

import s3prl_compress  # noqa: F401  (before transformers: torchaudio's stand-in)
from s3prl_compress.distillation import stage as learned
from s3prl_compress.distillation.layers import LayerDistillation, scaled_layers
from s3prl_compress.distillation.module import DistillationModule
from s3prl_compress.encoder import NAMED_SHAPES, SAMPLING_RATE, SpeechEncoder, random_encoder
from s3prl_compress.latency.loop import interleaved
from s3prl_compress.latency.plan import Bucket
from s3prl_compress.latency.ratios import interquartile_range, is_noisy, median, paired_ratio
from s3prl_compress.training import loop
from s3prl_compress.training.settings import LoopSettings, build_optimizer

Step = Callable[[Sequence[Tensor]], tuple[Tensor, Tensor]]
"""Takes waveforms, makes one update, and returns the loss and the norm of all gradients."""

RATE, CLIP = 2e-4, 10.0


def our_step(teacher: SpeechEncoder, student: SpeechEncoder, dtype: str, device: str) -> Step:
    """Return a step as `distillation.distill` makes it."""
    precision: Any = "bf16" if dtype == "bf16" else "no"
    settings = LoopSettings(
        steps=1, learning_rate=RATE, weight_decay=0.0, max_grad_norm=CLIP, precision=precision,
        betas=(0.9, 0.999), epsilon=1e-8,
    )  # fmt: skip
    place = torch.device(device)
    layers = scaled_layers(len(teacher.shape.layers))
    match = LayerDistillation(teacher.shape, student.shape, layers)
    frozen = learned._frozen(teacher, precision == "bf16").to(place)
    accelerator = loop._accelerator(settings.accumulation, place)
    model = DistillationModule(student, frozen, match, None, seed=0).to(place).train()
    prepared, optimizer = accelerator.prepare(model, build_optimizer(model, settings))

    def step(waveforms: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        batch = {"waveforms": list(waveforms), "step": 0, "weight": 1.0}
        scalars = loop._learn(accelerator, prepared, optimizer, batch, place, settings)
        return scalars["loss"].detach(), scalars["gradient_norm"]

    return step


def plain_step(teacher: SpeechEncoder, student: SpeechEncoder, dtype: str, device: str) -> Step:
    """Return the same step with transformers' model, written in the usual way."""
    silent = {
        **{"hidden_dropout": 0.0, "attention_dropout": 0.0, "activation_dropout": 0.0},
        **{"feat_proj_dropout": 0.0, "layerdrop": 0.0},
        **{"apply_spec_augment": False, "attn_implementation": "sdpa"},
    }
    models = []
    for encoder in (teacher, student):
        model = transformers_model(encoder.shape, **silent)
        model.load_state_dict(encoder.state_dict())
        models.append(model.to(device))
    guide, pupil = models[0].eval().requires_grad_(False), models[1].train()
    width = teacher.shape.hidden
    first, others = nn.Linear(width, width).to(device), nn.Linear(width, width).to(device)
    for projection in (first, others):
        nn.init.eye_(projection.weight)
        nn.init.zeros_(projection.bias)
    parameters = [*pupil.parameters(), *first.parameters(), *others.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=RATE, weight_decay=0.0)
    layers = scaled_layers(len(teacher.shape.layers))
    kind = torch.device(device).type

    def step(waveforms: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        batch = torch.stack(list(waveforms))
        with torch.autocast(kind, torch.bfloat16, enabled=dtype == "bf16"):
            with torch.no_grad():
                wanted = guide(batch, output_hidden_states=True).hidden_states
            states = pupil(batch, output_hidden_states=True).hidden_states
            loss = torch.zeros((), device=device)
            for layer in layers:
                predicted = (others if layer else first)(states[layer]).float()
                target = wanted[layer].float()
                loss = loss + F.l1_loss(predicted, target)
                loss = loss - F.cosine_similarity(predicted, target, dim=-1).mean()
            loss = loss / len(layers)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(parameters, CLIP)
        optimizer.step()
        optimizer.zero_grad()
        return loss.detach(), norm

    return step


def trained(step: Step) -> Callable[[list[Tensor]], Any]:
    """Wrap a step that needs gradients for the timing loop, which disables them."""

    def run(waveforms: list[Tensor]) -> Any:
        with torch.inference_mode(False), torch.enable_grad():
            return step(waveforms)

    return run


def same_step(steps: dict[str, Step], waveforms: Sequence[Tensor], dtype: str) -> dict[str, Any]:
    """Make the first step of each and compare loss and gradients with those of ours.

    Raises:
        SystemExit: they are not the same step.
    """
    tolerance = 1e-3 if dtype == "float32" else 5e-2
    found: dict[str, dict[str, float]] = {}
    for name, step in steps.items():
        loss, norm = step(waveforms)
        found[name] = {"loss": float(loss), "gradient_norm": float(norm)}
        print(f"first step, {name:21} loss {loss:.5f}, norm of all gradients {norm:.5f}")
    for name, plain in found.items():
        for key, value in plain.items():
            if abs(found["ours"][key] - value) > tolerance * abs(value):
                raise SystemExit(f"error: {key} differs: ours and {name} are not the same step")
    return found


def peak_memory(step: Step, waveforms: Sequence[Tensor], device: str) -> int | None:
    """Return the bytes that one step takes besides weights and moments; None on a CPU."""
    if not device.startswith("cuda"):
        return None
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    step(waveforms)
    torch.cuda.synchronize(device)
    return torch.cuda.max_memory_allocated(device) - before


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", default="hubert_base", choices=sorted(NAMED_SHAPES))
    parser.add_argument("--batch-seconds", type=float, default=30.0)
    parser.add_argument("--crop-seconds", type=float, default=15.0)
    parser.add_argument("--dtype", choices=("float32", "bf16"), default="float32")
    parser.add_argument("--repeats", type=int, default=11)
    parser.add_argument("--warmup", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--output", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)

    shape = NAMED_SHAPES[given.shape]
    count = max(1, int(given.batch_seconds / given.crop_seconds))
    samples = int(given.crop_seconds * SAMPLING_RATE)
    noise = 0.1 * torch.randn(count, samples, generator=torch.Generator().manual_seed(0))
    waveforms = tuple(noise.to(given.device))
    audio = count * given.crop_seconds

    sides = {"ours": (our_step, given.dtype), "transformers": (plain_step, given.dtype)}
    if given.dtype != "float32":
        sides["transformers, float32"] = (plain_step, "float32")
    steps: dict[str, Step] = {}
    for name, (make, dtype) in sides.items():
        teacher, student = random_encoder(shape, 0).eval(), random_encoder(shape, 1)
        steps[name] = make(teacher, student, dtype, given.device)
    print(f"{given.shape}, {given.dtype}, {count} crops of {given.crop_seconds:g} s of noise")
    first = same_step(steps, waveforms, given.dtype)

    bucket = Bucket("batch", (waveforms,))
    times = interleaved(
        {name: trained(step) for name, step in steps.items()},
        [bucket],
        repeats=given.repeats,
        warmup=given.warmup,
        device=given.device,
    )
    taken = {name: times[f"{bucket.name}/{name}"] for name in steps}
    memory = {name: peak_memory(step, waveforms, given.device) for name, step in steps.items()}
    for name, values in taken.items():
        peak = "" if memory[name] is None else f", {memory[name] / 2**30:.2f} GiB at its peak"
        noisy = " NOISY" if is_noisy(values) else ""
        print(
            f"{name:21} {median(values):8.4f} s a step  (interquartile range "
            f"{interquartile_range(values):.4f} s{noisy}), {1 / median(values):.2f} steps/s, "
            f"{audio / median(values):.1f} s of audio a second{peak}"
        )
    pairs = {
        name: paired_ratio(taken["ours"], values)
        for name, values in taken.items()
        if name != "ours"
    }
    for name, pair in pairs.items():
        low, high = pair.interval
        print(f"ours is {pair.ratio:.3f} x faster [{low:.3f}, {high:.3f}] than {name}")
    figures = {
        "shape": given.shape,
        "dtype": given.dtype,
        "crops": count,
        "crop_seconds": given.crop_seconds,
        "first_step": first,
        "speedup": {name: (pair.ratio, *pair.interval) for name, pair in pairs.items()},
        "seconds": taken,
        "peak_memory_bytes": memory,
    }
    write_result(given.output, figures, given.device)


if __name__ == "__main__":
    main()
