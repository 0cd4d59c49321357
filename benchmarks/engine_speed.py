"""Cost of the two engines: a training step at HuBERT-base size, a sweep, and complete runs.

    python benchmarks/engine_speed.py --data DIR --output out/engine_speed.json

1. A training step of keyword spotting at HuBERT-base size, batch 32 x 1 s: s3prl's own modules
   including the upstream, compared with the one-pass engine's heads on cached means.
2. The same with 7 learning rates at once, and with 10 seeds x 7 rates: heads only.
3. An extrapolation to the official schedule on Speech Commands v0.01, labelled as such: nothing of
   that size is run here.
4. With `--data DIR` (a prepared corpus), complete one-pass runs at HuBERT-base size (features,
   heads and test): 10 seeds x 7 rates and one seed x 7 rates in pairs, and 1 rate and 7 rates; and
   one complete run of both engines with a small upstream.

`--part seeds` measures only what 10 seeds cost.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from common import write_result
from torch import Tensor

import s3prl_compress
from s3prl_compress.encoder import NAMED_SHAPES, random_encoder, save
from s3prl_compress.encoder.frames import superb_frames
from s3prl_compress.latency.ratios import PairedRatio, median, paired_ratio
from s3prl_compress.probing.heads import ParallelHeads

BATCH, CLASSES, RATE = 32, 12, 16_000
RATES = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7)
SEEDS = tuple(range(10))

# The official schedule: steps, and Speech Commands v0.01 with its test set, as s3prl splits it.
OFFICIAL_STEPS, OFFICIAL_EVALUATIONS = 200_000, 40
OFFICIAL_CLIPS = {"train": 51_094, "dev": 6_798, "test": 3_081}
OFFICIAL_CROPS = 6 * 512  # background files, crops of each


def timed(step: Callable[[], Any], repeats: int, warmup: int) -> float:
    """Return the median seconds of `step`."""
    times = []
    for number in range(warmup + repeats):
        start = time.perf_counter()
        step()
        if number >= warmup:
            times.append(time.perf_counter() - start)
    return median(times)


def s3prl_step(folder: Path) -> Callable[[], Any]:
    """Return one step of s3prl's own keyword spotting, as its runner makes it."""
    s3prl_compress.register()
    from s3prl import hub
    from s3prl.downstream.model import UtteranceLevel
    from s3prl.upstream.interfaces import Featurizer
    from torch.nn.utils.rnn import pad_sequence

    upstream = hub.compressed(ckpt=str(folder))
    featurizer = Featurizer(upstream, upstream_device="cpu")
    projector = torch.nn.Linear(featurizer.output_dim, 256)
    model = UtteranceLevel(256, CLASSES)
    parameters = [*featurizer.parameters(), *projector.parameters(), *model.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=1e-4)
    waveforms = [0.1 * torch.randn(RATE) for _ in range(BATCH)]
    labels = torch.randint(CLASSES, (BATCH,))

    def step() -> None:
        with torch.no_grad():
            states = upstream(waveforms)
        features = featurizer(waveforms, states)
        lengths = torch.tensor([len(one) for one in features])
        logits, _ = model(projector(pad_sequence(features, batch_first=True)), lengths)
        torch.nn.functional.cross_entropy(logits, labels).backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return step


def onepass_step(
    rates: tuple[float, ...], values: Tensor, seeds: tuple[int, ...] = SEEDS[:1]
) -> Callable[[], Any]:
    """Return one step of the one-pass engine on stored means [utterances, layers, width]."""
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    sweep = ParallelHeads(values.shape[1], values.shape[2], CLASSES, rates, generators=generators)
    labels = torch.randint(CLASSES, (len(values),))

    def step() -> None:
        rows = torch.randint(len(values), (len(seeds), BATCH))
        sweep.update(values[rows], labels[rows])

    return step


def seed_steps(pairs: int = 40, steps: int = 5) -> tuple[dict[str, float], PairedRatio]:
    """Return seconds of a step of the heads with one seed and with all, and their ratio.

    A pair is `steps` steps with one seed, then as many with all.
    """
    shape = NAMED_SHAPES["hubert_base"]
    values = torch.randn(2048, len(shape.layers) + 1, shape.hidden)
    one, all_seeds = onepass_step(RATES, values), onepass_step(RATES, values, SEEDS)
    for step in (one, all_seeds):
        timed(step, 1, 3)
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(pairs):
        for kept, step in zip(times, (one, all_seeds), strict=True):
            start = time.perf_counter()
            for _ in range(steps):
                step()
            kept.append((time.perf_counter() - start) / steps)
    medians = {"one_seed": median(times[0]), "all_seeds": median(times[1])}
    return medians, paired_ratio(times[0], times[1])


def seed_runs(data: Path, pairs: int) -> tuple[dict[str, list[float]], PairedRatio]:
    """Return seconds of whole runs with one seed and with all, smoke with 7 rates, and their ratio.

    Each run is from the audio on, in an output folder of its own. Every other pair has the reverse
    order.
    """
    encoder = random_encoder(NAMED_SHAPES["hubert_base"]).eval()
    seconds: dict[int, list[float]] = {1: [], len(SEEDS): []}
    with tempfile.TemporaryDirectory() as temporary:
        recipe = Path(temporary) / "rates.yaml"
        recipe.write_text(f"extends: smoke\nlearning_rates: {list(RATES)}\nengines: {{}}\n")
        for pair in range(pairs):
            for count in sorted(seconds, reverse=pair % 2 == 1):
                start = time.perf_counter()
                s3prl_compress.score_seeds(
                    encoder,
                    "ks",
                    seeds=SEEDS[:count],
                    data=data,
                    recipe=recipe,
                    output=Path(temporary) / f"{pair}-{count}",
                )
                seconds[count].append(time.perf_counter() - start)
    one, all_seeds = seconds.values()
    return {"one_seed": one, "all_seeds": all_seeds}, paired_ratio(one, all_seeds)


def official_seeds(features_per_clip: float, steps: dict[str, float]) -> float:
    """Return the cost of all seeds relative to one seed, with 7 rates, at the official schedule."""
    features = (sum(OFFICIAL_CLIPS.values()) + OFFICIAL_CROPS) * features_per_clip
    one, all_seeds = (features + OFFICIAL_STEPS * step for step in steps.values())
    return all_seeds / one


def features_per_clip(repeats: int) -> float:
    """Return the seconds that the features of one second of audio take at HuBERT-base size."""
    encoder = random_encoder(NAMED_SHAPES["hubert_base"]).eval()
    waveforms = [0.1 * torch.randn(RATE) for _ in range(BATCH)]

    def features() -> None:
        with torch.no_grad():
            states, counts = encoder(waveforms)
            [state.mean(1) for state in superb_frames(states, counts, [RATE] * BATCH, 320)]

    return timed(features, repeats, 1) / BATCH


def seeds(data: Path | None, repeats: int, pairs: int) -> dict[str, Any]:
    """Measure and print what 10 seeds x 7 rates cost, against one seed x 7 rates."""
    steps, ratio = seed_steps()
    official = official_seeds(features_per_clip(repeats), steps)
    what = f"{len(SEEDS)} seeds x {len(RATES)} rates against one seed x {len(RATES)} rates"
    print(
        f"\n{what}, HuBERT-base size, keyword spotting:\n"
        f"  a step, heads alone  {_words(ratio)} ({1e3 * steps['all_seeds']:.1f} ms against "
        f"{1e3 * steps['one_seed']:.1f} ms)\n"
        f"  EXTRAPOLATED, not run: the official schedule, features and heads  {official:.2f} x"
    )
    figures: dict[str, Any] = {"step": steps, "step_ratio": ratio.__dict__, "official": official}
    if data is not None:
        seconds, whole = seed_runs(data, pairs)
        figures |= {"runs": seconds, "runs_ratio": whole.__dict__}
        print(
            f"  whole runs on {data.name}, smoke  {_words(whole)} ({pairs} pairs; "
            f"{median(seconds['all_seeds']):.1f} s against {median(seconds['one_seed']):.1f} s; "
            "wanted: at most 3)"
        )
    return figures


def _words(ratio: PairedRatio) -> str:
    low, high = ratio.interval
    return f"{ratio.ratio:.2f} x [{low:.2f}, {high:.2f}]"


def steps(repeats: int) -> dict[str, float]:
    """Measure the steps at HuBERT-base size, and the features of one second of audio."""
    shape = NAMED_SHAPES["hubert_base"]
    encoder = random_encoder(shape).eval()
    with tempfile.TemporaryDirectory() as folder:
        step = s3prl_step(save(encoder, Path(folder) / "base"))
        official = timed(step, repeats, 1)
    values = torch.randn(2048, len(shape.layers) + 1, shape.hidden)
    return {
        "s3prl_step": official,
        "onepass_step": timed(onepass_step(RATES[2:3], values), 300, 50),
        "onepass_sweep_step": timed(onepass_step(RATES, values), 300, 50),
        "features_per_clip": features_per_clip(repeats),
    }


def extrapolate(measured: dict[str, float]) -> dict[str, float]:
    """Extrapolate the measured steps to the official schedule, in hours."""
    clips = OFFICIAL_CLIPS
    evaluated = OFFICIAL_EVALUATIONS * clips["dev"] + clips["test"]
    per_clip = measured["s3prl_step"] / BATCH  # an upper bound: evaluation has no backward
    s3prl = OFFICIAL_STEPS * measured["s3prl_step"] + evaluated * per_clip
    features = (sum(clips.values()) + OFFICIAL_CROPS) * measured["features_per_clip"]
    one = features + OFFICIAL_STEPS * measured["onepass_step"]
    seven = features + OFFICIAL_STEPS * measured["onepass_sweep_step"]
    return {
        "s3prl_hours": s3prl / 3600,
        "onepass_hours": one / 3600,
        "onepass_sweep_hours": seven / 3600,
        "sweep_over_one_rate": seven / one,
    }


def sweep_runs(data: Path) -> dict[str, float]:
    """Run the one-pass engine at base size from the audio, with one rate and with all rates."""
    encoder = random_encoder(NAMED_SHAPES["hubert_base"]).eval()
    seconds = {}
    with tempfile.TemporaryDirectory() as temporary:
        for rates in (RATES[2:3], RATES):
            recipe = Path(temporary) / f"rates{len(rates)}.yaml"
            recipe.write_text(f"extends: smoke\nlearning_rates: {list(rates)}\nengines: {{}}\n")
            output = Path(temporary) / recipe.stem  # of its own: no features are shared
            start = time.perf_counter()
            s3prl_compress.score(encoder, "ks", data=data, recipe=recipe, output=output)
            seconds[recipe.stem] = time.perf_counter() - start
    return seconds


def complete_runs(data: Path) -> dict[str, Any]:
    """Run both engines from checkpoint to score with a small upstream, smoke recipe."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = save(random_encoder(NAMED_SHAPES["hubert_small"]), Path(temporary) / "small")
        found = {}
        for engine in ("onepass", "s3prl"):
            start = time.perf_counter()
            record = s3prl_compress.score(
                folder, "ks", data=data, engine=engine, recipe="smoke", output=temporary
            )
            found[engine] = {
                "seconds": time.perf_counter() - start,
                "score": record.score,
                "standard_error": record.standard_error,
                "learning_rates": len(record.rates),
                "steps": record.settings["total_steps"],
                "stages": record.seconds,
            }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="a corpus that `prepare ks` made")
    parser.add_argument("--part", choices=("all", "seeds"), default="all")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--pairs", type=int, default=5, help="of whole runs")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    of_seeds = seeds(arguments.data, arguments.repeats, arguments.pairs)
    if arguments.part == "seeds":
        write_result(arguments.output, {"seeds": of_seeds})
        return

    measured = steps(arguments.repeats)
    official = extrapolate(measured)
    one, seven = measured["onepass_step"], measured["onepass_sweep_step"]
    print(
        f"\nOne training step, HuBERT-base size, batch {BATCH} x 1 s, median:\n"
        f"  s3prl      {measured['s3prl_step']:8.3f} s\n"
        f"  one-pass   {1e3 * one:8.3f} ms    {measured['s3prl_step'] / one:.0f} x less\n"
        f"  one-pass, {len(RATES)} rates  {1e3 * seven:.3f} ms: the heads cost {seven / one:.2f} x "
        "one rate\n"
        f"  features   {1e3 * measured['features_per_clip']:8.1f} ms per clip, once\n\n"
        f"EXTRAPOLATED, not run: the official schedule ({OFFICIAL_STEPS} steps, Speech Commands "
        f"v0.01):\n"
        f"  s3prl, one rate      {official['s3prl_hours']:8.1f} h\n"
        f"  one-pass, one rate   {official['onepass_hours']:8.2f} h\n"
        f"  one-pass, {len(RATES)} rates    {official['onepass_sweep_hours']:8.2f} h: "
        f"{official['sweep_over_one_rate']:.2f} x one rate, features and heads (wanted: at most "
        "1.5)"
    )
    figures: dict[str, Any] = {"seeds": of_seeds, "steps": measured, "extrapolated": official}
    if arguments.data is not None:
        whole = sweep_runs(arguments.data)
        figures["sweep_runs"] = whole
        first, last = whole.values()
        print(
            f"\nWhole one-pass runs on {arguments.data.name} at HuBERT-base size, smoke: one rate "
            f"{first:.1f} s, {len(RATES)} rates {last:.1f} s: {last / first:.2f} x (wanted: at "
            "most 1.5)"
        )
        runs = complete_runs(arguments.data)
        figures["complete_runs"] = runs
        print(f"\nComplete runs on {arguments.data.name}, hubert_small with random weights, smoke:")
        for engine, run in runs.items():
            print(
                f"  {engine:8} {run['seconds']:6.1f} s, {run['learning_rates']} learning rate(s), "
                f"{run['steps']} steps: accuracy {run['score']:.1f} +- {run['standard_error']:.1f}"
            )
    write_result(arguments.output, figures)


if __name__ == "__main__":
    main()
