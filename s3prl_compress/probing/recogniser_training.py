"""Training CTC heads on frames, one per seed and learning rate; resumes after a kill."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save
from torch import Tensor
from tqdm import tqdm

from ..common.errors import InputError
from ..common.files import write_atomically
from ..results.records import RateResult
from ..tasks.base.corpus import Corpus
from ..tasks.base.engine import Job
from ..tasks.base.symbols import Symbols
from ..training.state import load_state, read_facts, save_state
from .buckets import ShuffledBuckets, derived_seed
from .frames import Frames
from .pooling import batches_by_length
from .recogniser import FrameHead

_FRAMES_AT_ONCE = 8192
"""Frames per forward pass in evaluations, padding included."""

_SHARED_ORDER = 0
"""Seed of the order of the batches that all seeds share."""

Batch = tuple[list[Tensor], list[Tensor]]
"""Frames of each utterance, [layers, frames, width], and numbers of its symbols."""


@dataclass(frozen=True)
class RecognitionSpec:
    """The parts that differ between tasks that train a CTC head on frames."""

    symbols: Callable[[Corpus], Symbols]
    """Returns the symbols of a corpus."""
    head: Callable[[Job, Frames], FrameHead]
    """Builds the head; all its random numbers come from torch's global generator."""
    batches: Callable[[Sequence[int], Sequence[int], int], list[list[int]]]
    """From every training utterance's samples and its number of target symbols, and the batch
    size, to the batches of an epoch, as indices of utterances. Every epoch draws their order."""
    error_rate: Callable[[Sequence[str], Sequence[str]], float]
    """From truths and predictions to the error rate in percent that is best on dev."""
    none_kept: float = math.inf
    """Dev's error rate, in percent, from which on s3prl keeps no head."""


@dataclass(frozen=True)
class _Candidate:
    """A head in training, of one seed and learning rate."""

    job: Job
    number: int
    """Of its learning rate."""
    rate: float
    head: FrameHead
    optimizer: torch.optim.Optimizer
    facts: dict[str, Any]
    """What is known at the last look: `step`, `dev` and `best_step`; and `run`, its identity."""
    state: Path
    """Folder of its saved state."""

    def best_file(self, step: int) -> Path:
        """Return the file of its weights as they were at this step, the best one on dev."""
        return self.state.with_name(f"{self.number}.best-{step}.safetensors")


class Training:
    """The sweep over learning rates, with its state in the jobs' work folders.

    Args:
        jobs: they differ in nothing but the seed. All of them see the batches of the first one, so
            several are given only where the settings share batches between seeds.
        frames: of all utterances.
        recognition: the task's own parts.
    """

    def __init__(self, jobs: Sequence[Job], frames: Frames, recognition: RecognitionSpec) -> None:
        self._jobs, self._frames, self._recognition = jobs, frames, recognition
        corpus, self._settings = jobs[0].corpus, jobs[0].settings
        rows = frames.plan.rows["train"]
        encode = recognition.symbols(corpus).encode
        self._targets = [torch.tensor(encode(frames.plan.items[row].label)) for row in rows]
        batches = recognition.batches(
            [frames.plan.samples[row] for row in rows],
            [len(target) for target in self._targets],
            self._settings.batch_size,
        )
        if not batches:
            raise InputError(
                f"{corpus.root}: {len(rows)} training utterances make no batch, since s3prl "
                "drops a last batch of one; add recordings, or set batch_size 1 in the recipe"
            )
        self._batches = ShuffledBuckets(
            batches, _SHARED_ORDER if self._settings.shared_batches else jobs[0].seed
        )
        self.left_out = len(rows) - len({index for batch in batches for index in batch})
        """Training utterances that are in no batch."""
        looks = self._settings.total_steps // self._settings.eval_step
        self._last_step = looks * self._settings.eval_step  # what comes after it is never kept

    def sweep(self) -> list[tuple[RateResult, ...]]:
        """Train a head per seed and learning rate, and return the results of each job.

        Resumes where an earlier process stopped. Streamed frames are computed once for all heads.
        Stored ones cost nothing to read again, and one head after the other takes less memory.
        """
        numbers = range(len(self._settings.learning_rates))
        heads = [(job, number) for job in self._jobs for number in numbers]
        together = [heads] if self._frames.streamed else [[head] for head in heads]
        results = [result for group in together for result in self._train(group)]
        return list(zip(*[iter(results)] * len(numbers), strict=True))

    def best_head(self, job: Job, number: int, best: RateResult) -> FrameHead:
        """Return the head of a job and a learning rate as it was when it was best on dev."""
        candidate = self._candidate(job, number)
        candidate.head.load_state_dict(load_file(candidate.best_file(best.best_step)))
        return candidate.head

    def forget(self) -> None:
        """Remove the saved state once the cells have their results."""
        for job in self._jobs:
            shutil.rmtree(_folder(job), ignore_errors=True)

    def _train(self, heads: Sequence[tuple[Job, int]]) -> list[RateResult]:
        """Train heads on the same frames, in step."""
        settings, last = self._settings, self._last_step
        candidates = [self._candidate(job, number) for job, number in heads]
        done = min(candidate.facts["step"] for candidate in candidates)
        steps, title = range(done + 1, last + 1), self._title(candidates)
        bar = tqdm(steps, title, initial=done, total=last, leave=False, delay=1)
        for step, batches in zip(bar, self._read_on(done + 1), strict=False):
            # A process that was killed while it saved left some heads a look behind the others.
            behind = [candidate for candidate in candidates if candidate.facts["step"] < step]
            for candidate in behind:
                with seeded(candidate.job.device, candidate.job.seed, 1, step):
                    update(candidate.head, candidate.optimizer, batches, settings.gradient_clipping)
            if step % settings.eval_step == 0:
                self._look(behind, step)
        return [
            RateResult(
                learning_rate=candidate.rate,
                dev_score=candidate.facts["dev"],
                best_step=candidate.facts["best_step"],
            )
            for candidate in candidates
        ]

    def _title(self, candidates: Sequence[_Candidate]) -> str:
        if len(candidates) > 1:
            return f"{len(candidates)} heads"
        count = len(self._settings.learning_rates)
        return f"head {candidates[0].number + 1} of {count} (rate {candidates[0].rate:g})"

    def _candidate(self, job: Job, number: int) -> _Candidate:
        """Return a head at the start of its training, or as it was saved last."""
        rate, state = self._settings.learning_rates[number], _folder(job) / f"{number}.state"
        head = self._new_head(job)
        optimizer = torch.optim.Adam(head.parameters(), lr=rate)
        facts = read_facts(state)
        run = {"settings": self._settings.identity(), "seed": job.seed, "rate": rate}
        if facts is None or facts["run"] != run:
            facts = {"run": run, "step": 0, "dev": None, "best_step": 0}
        elif facts["step"] < self._last_step:
            load_state(state, head, optimizer)
        return _Candidate(job, number, rate, head, optimizer, facts, state)

    def _look(self, candidates: Sequence[_Candidate], step: int) -> None:
        """Evaluate heads on dev, keep each that is better than all before, and save them all."""
        rows = self._frames.plan.rows["dev"]
        truth = [self._frames.plan.items[row].label for row in rows]
        texts = recognise([candidate.head for candidate in candidates], self._frames, rows)
        for candidate, predicted in zip(candidates, texts, strict=True):
            self._keep_better(candidate, step, self._recognition.error_rate(truth, predicted))
            save_state(candidate.state, candidate.head, candidate.optimizer, candidate.facts)

    def _keep_better(self, candidate: _Candidate, step: int, score: float) -> None:
        """Keep a head if it is better than all before.

        Where s3prl keeps none before the error rate is below `Recognition.none_kept`, its engine
        here takes the newest head, and so does this one.
        """
        facts, none_kept = candidate.facts, self._recognition.none_kept
        facts["step"] = step
        if facts["dev"] is not None and facts["dev"] < none_kept and score >= facts["dev"]:
            return
        # The file comes before the state that names it; an older one goes with the next.
        for old in candidate.state.parent.glob(f"{candidate.number}.best-*"):
            if old != candidate.best_file(facts["best_step"]):
                old.unlink()
        weights = {
            name: tensor.cpu().contiguous() for name, tensor in candidate.head.state_dict().items()
        }
        write_atomically(candidate.best_file(step), save(weights))
        facts |= {"dev": min(score, none_kept), "best_step": step}

    def _new_head(self, job: Job) -> FrameHead:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(job.seed)
            head = self._recognition.head(job, self._frames)
        return head.to(job.device)

    def _read_on(self, step: int) -> Iterator[list[Batch]]:
        """Yield what this step and all later ones train on; the next one is read meanwhile."""
        with ThreadPoolExecutor(max_workers=1) as reader:
            coming = reader.submit(self._read, step)
            while True:
                batches, step = coming.result(), step + 1
                coming = reader.submit(self._read, step)
                yield batches

    def _read(self, step: int) -> list[Batch]:
        accumulation = self._settings.accumulation
        numbers = range((step - 1) * accumulation, step * accumulation)
        start = self._frames.plan.rows["train"].start
        return [
            (
                self._frames.read([start + index for index in self._batches[number]]),
                [self._targets[index] for index in self._batches[number]],
            )
            for number in numbers
        ]


def _folder(job: Job) -> Path:
    return job.work / "heads"


def update(
    head: FrameHead, optimizer: torch.optim.Optimizer, batches: Sequence[Batch], clipping: float
) -> None:
    """Make one training step, as s3prl's runner does: the mean of the batches' losses.

    The gradient of all parameters together is clipped; where its norm is NaN no step is made.
    """
    head.train()
    device = head.layer_weights.device
    for frames, targets in batches:
        loss = head.loss([states.to(device) for states in frames], targets) / len(batches)
        loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(head.parameters(), clipping)
    if not math.isnan(norm):
        optimizer.step()
    optimizer.zero_grad()


def recognise(heads: Sequence[FrameHead], frames: Frames, rows: range) -> list[list[str]]:
    """Return the texts of the utterances in `rows`, in their order, for each of the heads."""
    found: list[dict[int, str]] = [{} for _ in heads]
    for head in heads:
        head.eval()
    counts = [frames.plan.counts[row] for row in rows]
    with torch.no_grad():
        for batch in batches_by_length(counts, _FRAMES_AT_ONCE):
            states = frames.read([rows[index] for index in batch])
            for head, texts in zip(heads, found, strict=True):
                device = head.layer_weights.device
                texts |= zip(batch, head.texts([own.to(device) for own in states]), strict=True)
    return [[texts[index] for index in range(len(rows))] for texts in found]


@contextmanager
def seeded(device: str, *parts: int) -> Iterator[None]:
    """Let torch draw what belongs to these numbers; its generators are then as they were."""
    kind = torch.device(device)
    devices = [kind] if kind.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(derived_seed(*parts))
        yield
