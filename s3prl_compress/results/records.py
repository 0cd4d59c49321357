"""Result records: one typed, append-only JSON file per cell. Reports read nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ..common.errors import InputError
from ..common.files import write_atomically
from ..common.json_text import parse_json
from ..common.model_errors import first_mistake
from ..statistics import EditCounts

RECORD_VERSION: Final = 1
NO_RECIPE: Final = "none"
"""The recipe of a task for which nothing is trained."""

Engine = Literal["s3prl", "onepass", "greedy", "lm"]
"""`greedy` and `lm` decode with the model's own output layer; nothing is trained. `lm` uses a
language model."""
Padding = Literal["independent", "fairseq"]
RateChoice = Literal["dev sweep", "one-pass", "given"]
"""How a learning rate was chosen: the best of several on dev; the choice of the one-pass engine on
dev for the same upstream and corpus; or the recipe's only rate, without any choice."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Environment(_Record):
    """Where and with what a number was measured: part of the number's identity."""

    machine: str
    """Processor or accelerator, in words."""
    device: str
    threads: int
    python: str
    packages: dict[str, str]
    git_commit: str | None
    git_dirty: bool | None
    date: str
    """UTC, ISO 8601."""
    command: str = ""
    """The command line that measured it; empty without one."""
    tf32: bool | None = None
    """On CUDA: whether float32 products were allowed to use TensorFloat-32. None on other devices,
    and in records from before 2026-11-21, for which cuDNN's convolutions used it."""
    linears: str | None = None
    """On a CPU: what multiplied the encoder's matrices, "torch" (its BLAS) or "onednn". None where
    the encoder was not prepared for inference; before 2026-11-22 it always was torch."""


class Cost(_Record):
    """Costs of an encoder that are counted rather than measured."""

    parameters: int
    """Weights at run time, with the zeros of sparse linears, without pre-training and CTC heads."""
    nonzero_parameters: int
    """Weights in the file: of sparse linears only those that are not zero."""
    macs_32: int
    """Multiply-adds over the leaderboard's 32 utterances at batch 1."""
    bytes: int
    """Size of the weights on disk, in bytes."""


class RuntimeRecord(_Record):
    """How an exported model computes, where that is not PyTorch."""

    name: str
    """onnxruntime or openvino."""
    version: str
    dtype: str
    """Number format of its arithmetic: float32, bfloat16 or int8."""
    states: Literal["all", "last"]
    """Which hidden states it returns."""
    state_error: float | None
    """Mean relative error of its states, measured when it was exported; None: not measured."""


class Upstream(_Record):
    """Which encoder was measured."""

    name: str
    checkpoint_sha256: str
    """`s3prl_compress.encoder.fingerprint` of the loaded encoder, over shape, flags and weights."""
    source: str
    """Folder, file or hub id, as the user gave it."""
    base: str
    """Source of the weights, in words: a hub id, a file name, or "random weights (seed 0)"."""
    random_weights: bool
    """Nothing was learned, so that scores say nothing about compression."""
    normalize: bool | None = None
    """Whether waveforms were normalised first. None for s3prl's own upstreams, and in records from
    before this field."""
    front_end: dict[str, Any] | None = None
    """Settings of the front end of a family that has some, such as whether Whisper's utterances
    are padded. None for other families, and in records from before this field."""
    methods: tuple[str, ...] = ()
    """Chain of methods with their settings, one text per method."""
    cost: Cost | None = None
    runtime: RuntimeRecord | None = None
    """None: PyTorch, as in all records from before this field."""


class CorpusRecord(_Record):
    """The data of a task."""

    name: str
    fingerprint: str
    """sha256 over the sorted relative paths and the hashes of the contents."""
    sizes: dict[str, int]
    """Utterances per split (train, dev, test)."""
    generated: bool = False
    """Synthetic speech, not comparable with published scores."""


class RateResult(_Record):
    """The result of one learning rate on dev."""

    learning_rate: float
    dev_score: float
    """Best dev evaluation, in the metric's unit."""
    best_step: int
    """Step of that evaluation; with cross-validation, the latest of the folds' best steps."""


class FoldResult(_Record):
    """One fold of a cross-validation."""

    fold: int
    score: float
    """On the fold's test part, in the metric's unit."""
    dev_score: float
    test_size: int


class DecodingWeights(_Record):
    """Weights of a beam search, and the error rate with them."""

    weight: float
    """Factor of the language model's log10 probabilities."""
    word_score: float
    """Added for each word; without a lexicon, for each frame with the word separator."""
    dev_score: float
    """On dev, in the metric's unit."""


class LanguageModelRecord(_Record):
    """How a test set was decoded with a language model."""

    name: str
    """File name of the language model."""
    sha256: str
    """Of that file."""
    order: int
    """Its n."""
    lexicon: str
    """File name of the lexicon; "lm": the language model's own words; "none": characters."""
    words: int
    """Number of words in the lexicon that the head can spell; 0 without a lexicon."""
    beam: int
    weight: float
    """As used on test; see `DecodingWeights`."""
    word_score: float
    dev: CorpusRecord | None = None
    """Where both were tuned; None if they were given."""
    grid: tuple[DecodingWeights, ...] = ()
    """All that was tried on dev."""


class ScoreRecord(_Record):
    """One cell: an upstream on a task, with one engine, padding, seed and set of settings."""

    kind: Literal["score"] = "score"
    record_version: Literal[1] = RECORD_VERSION
    upstream: Upstream
    task: str
    task_version: int
    variant: str
    """The corpus's variant of the task ("official", "digits")."""
    engine: Engine
    engine_version: int = Field(default=1, ge=1)
    """See `tasks.base.engine.ENGINE_VERSIONS`; 1 in records from before this field."""
    padding: Padding
    seed: int | None
    """None if nothing was drawn at random."""
    recipe: str
    """`smoke`, `official`, the name of a recipe file, or `none` if nothing was trained."""
    settings: dict[str, Any]
    """Every setting that can change the result."""
    metric: str
    """Name and unit: "accuracy (percent)", "WER (percent)"; see `statistics.recorded_metric`."""
    higher_is_better: bool
    score: float
    """On test, in the metric's unit; an accuracy with cross-validation is the mean of the folds."""
    standard_error: float
    """In the score's unit, over `error_units`, conditional on this one trained head."""
    interval: tuple[float, float] | None = None
    """95 % interval in the score's unit, over the same units."""
    error_units: str = "utterances"
    """Sampling units of the error: "30 speakers"; "240 utterances of 4 speakers", which are too few
    to generalise over; or "utterances", as in all records from before speakers were kept."""
    test_size: int
    chance: float | None
    """Share of the largest test class, in the score's unit; None for error rates."""
    other_metrics: dict[str, float] = Field(default_factory=dict)
    """Further scores on test by their keys, such as `cer`, the character error rate in percent."""
    edits: dict[str, EditCounts] = Field(default_factory=dict)
    """Of recognised texts: the errors by kind, in `words` and in `characters`. Empty for other
    tasks, and in records from before this field."""
    runaways: int | None = None
    """Of a decoder that may not stop: utterances in which it reached the cap on new tokens or
    repeated itself; the file of predictions says which. None for other models, and in records from
    before this field."""
    folds: tuple[FoldResult, ...] = ()
    """With cross-validation, one result per fold."""
    layer_weights: tuple[float, ...] = ()
    """onepass: the share of each hidden state, state 0 first, in the weighted sum of the head that
    was tested; 0 for those that the settings leave out (`first_state`). With cross-validation, the
    mean over the folds' heads. Empty in records from before this field."""
    resumed: bool = False
    """Training was resumed from a checkpoint without the state of the random generators (s3prl's
    hold none), so that an uninterrupted run would have had another result."""
    learning_rate: float | None
    """The rate of the tested head; None if nothing was trained."""
    rate_choice: RateChoice | None = None
    """How it was chosen; None if nothing was trained. Filled in when an older record is read."""
    rate_record: str | None = None
    """File name of the one-pass record that the rate was taken from; None if it was not."""
    rates: tuple[RateResult, ...]
    """The learning rates that were trained by this engine."""
    dev_score: float | None
    language_model: LanguageModelRecord | None = None
    """Of the engine `lm`; None otherwise."""
    corpus: CorpusRecord
    approximate: bool
    """The engine's conditions for exactness did not hold."""
    notes: tuple[str, ...] = ()
    """Caveats for the reader, such as stand-ins for silence, deviations from s3prl or random
    weights."""
    predictions: str
    """File name of the predictions beside this record: file, truth, predicted, speaker, and further
    columns of some tasks, such as the texts before normalisation."""
    seconds: dict[str, float] = Field(default_factory=dict)
    """Wall time by stage. If seeds were trained together, this seed's own time and its share of the
    common time, so that the sum over their records is the time that passed."""
    seeds_together: int = Field(default=1, ge=1)
    """Number of seeds that were trained in the same run, this one included."""
    environment: Environment

    @model_validator(mode="before")
    @classmethod
    def _choice_of_older_records(cls, data: Any) -> Any:
        """Without the field, several rates mean a sweep, and a single one was not tuned."""
        if isinstance(data, dict) and data.get("rate_choice") is None and data.get("rates"):
            choice = "dev sweep" if len(data["rates"]) > 1 else "given"
            return data | {"rate_choice": choice}
        return data


class BucketTiming(_Record):
    """Speed on one of the four length buckets, or on all of them (`name` "all")."""

    name: str
    audio_seconds: float
    batch_size: int
    seconds: float
    """Median time of one pass over the bucket."""
    interquartile_range: float
    rtfx: float
    """Total audio over total time; higher is faster."""
    against_seconds: float | None = None
    against_interquartile_range: float | None = None
    speedup: float | None = None
    """Median of the paired ratios other / this: above 1 means faster than the other."""
    interval: tuple[float, float] | None = None
    """95 % bootstrap interval of that median."""


class TimeRecord(_Record):
    """Measured speed of an upstream, by itself or against another one in the same run."""

    kind: Literal["time"] = "time"
    record_version: Literal[1] = RECORD_VERSION
    upstream: Upstream
    against: Upstream | None
    dtype: Literal["float32", "bfloat16"]
    buckets: tuple[BucketTiming, ...]
    """The four length buckets, then "all"."""
    raw_seconds: dict[str, list[float]]
    """Every measured time, by "<bucket>/this" and "<bucket>/against"."""
    peak_memory_bytes: int
    """Peak of a separate pass, above what the process held before it."""
    against_peak_memory_bytes: int | None
    warnings: tuple[str, ...] = ()
    settings: dict[str, Any] = Field(default_factory=dict)
    """Conditions of comparability: lengths, batch size, timed part."""
    environment: Environment


Record = ScoreRecord | TimeRecord


def write_record(record: Record, folder: Path, stem: str) -> Path:
    """Write `<stem>.json` into `folder`, whole or not at all, and return its path."""
    path = folder / f"{stem}.json"
    write_atomically(path, record.model_dump_json(indent=2) + "\n")
    return path


def read_record(path: Path) -> Record:
    """Read one record; an unreadable one is an `InputError` that names the file."""
    try:
        data = parse_json(path.read_text(encoding="utf-8"))
        kinds: dict[str, type[ScoreRecord] | type[TimeRecord]] = {
            "score": ScoreRecord,
            "time": TimeRecord,
        }
        return kinds[data["kind"]].model_validate(data)
    except (OSError, ValueError, KeyError, TypeError, ValidationError) as error:
        reason = _reason(error)
        raise InputError(f"{path}: not a result record ({reason}); delete it or fix it") from error


def read_records(folder: Path) -> Iterator[tuple[Path, Record]]:
    """Yield every record below `folder`, in the order of their paths.

    JSON files without a known `kind` are third-party files and are skipped.

    Raises:
        InputError: There is no such folder, or a record cannot be read.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; give the one that `score --output` wrote to")
    for path in sorted(folder.rglob("*.json")):
        try:
            data = parse_json(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            data = {"kind": "score"}  # broken: let read_record name it
        if isinstance(data, dict) and data.get("kind") in ("score", "time"):
            yield path, read_record(path)


def _reason(error: Exception) -> str:
    """Say in one line what is wrong with a record."""
    if isinstance(error, KeyError):
        return f"kind: {error.args[0]!r} is missing or unknown"
    if isinstance(error, ValueError):
        return first_mistake(error)
    return str(error).splitlines()[0] if str(error) else type(error).__name__
