"""`Task`, the object that declares a task, and `Settings`, the values of a recipe.

A declaration is never edited once scores exist: a change is a new version. The settings come from
`recipes/tasks/<task>.yaml`, which holds two of them (`smoke` and `official`), or from a file of
the user's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass
from importlib import resources
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ...common.errors import InputError
from ...common.yaml_files import parse, read_text, validated
from ...results.records import Engine, Padding
from ...statistics import find_metric
from .corpus import Corpus
from .facts import CorpusFacts
from .own_head import OwnHead

ENGINES: tuple[Engine, ...] = ("onepass", "s3prl")
SHIPPED = ("smoke", "official")
"""Names of the recipes that every task provides."""


FrameSource = Literal["auto", "stored", "streamed"]
"""Where heads get frames from: the disk, or the encoder; `auto`: the disk if they fit on it."""

UTTERANCE_HEAD = (
    "softmax-weighted sum of all hidden states, linear to 256, mean over frames, linear to the "
    "classes; no non-linearity"
)
"""The head that SUPERB trains on whole utterances, in words."""


@dataclass(frozen=True)
class Task:
    """A task: what is scored, in which unit, with which head, and the functions that are its own.

    A task is one folder whose package holds a `Task`; see `tasks.registry`. Most tasks train a head
    on the hidden states of a frozen upstream; a task with `own_head` trains none. What needs s3prl
    or trains is given as "module:attribute" and imported on first use.
    """

    name: str
    version: int
    """Part of a score's identity. A new version is a new declaration, never an edit."""
    title: str
    corpus: str
    """The corpus and its layout on disk, in words."""
    metric: str
    """Name of a registered metric; see `statistics.find_metric`."""
    s3prl: str
    """The downstream's name in `s3prl.downstream`; empty if s3prl has none."""
    head: str
    """The trained part, in words."""
    variants: tuple[str, ...]
    """Variants of the corpus. Rows of different variants are never compared."""
    _: KW_ONLY
    open_corpus: Callable[[Path], Corpus]
    """Find the parts of a corpus folder. Raises `InputError` if it holds none for this task."""
    prepare: Callable[[Path, Path], Path] | None = None
    """Write a corpus from a table (or the folder of the official corpus), given its place. Raises
    `InputError` for a table with faults, and if something else lies at that place. None: the task
    reads tables and folders as they are."""
    demo: Callable[[Path], Path] | None = None
    """Unpack the packaged corpus of generated speech; None if there is none."""
    onepass: str = ""
    """The one-pass engine's `RunSeeds`, as "module:attribute"; empty only with `own_head`."""
    clips: str = ""
    """With `features="means"`: the function of a task, a corpus and `Settings` that lists the clips
    of which `onepass` takes features, as "module:attribute". If empty, no cluster can split their
    extraction (`shards` of a suite)."""
    own_head: str = ""
    """The `OwnHead` that scores models as they were fine-tuned, as "module:attribute"; empty for a
    task that trains a head."""
    test_sets: Callable[[Path], list[Path]] = lambda source: [source]
    """With `own_head`: list the test sets of a source that holds several, to be scored apart."""
    downstream: str = ""
    """The class of the adapter for s3prl's downstream (`s3prl_bridge.downstream.Downstream`), as
    "module:attribute"; empty if s3prl has no such downstream."""
    features: Literal["means", "frames"] = "means"
    """The features that the one-pass engine stores of an utterance: the mean over frames of every
    hidden state, or all frames. The number of frames must be known beforehand, so a task that
    needs them does not take third-party upstreams on this engine."""
    crops_training: bool = False
    """Whether s3prl crops training clips that are longer than `Settings.longest_seconds`."""
    official: CorpusFacts | None = None
    """Approximate sizes of the official corpus, for estimates before it is prepared."""
    recipes: Path | None = None
    """YAML file with the recipes `smoke` and `official`; by default the packaged
    `recipes/tasks/NAME.yaml`."""

    def __post_init__(self) -> None:
        if bool(self.onepass) == bool(self.own_head):
            raise ValueError(f"task {self.name}: give either onepass or own_head")

    @property
    def trains_head(self) -> bool:
        """Whether a head is trained: then there are engines, recipes and seeds."""
        return not self.own_head

    def load_own_head(self, options: Mapping[str, Any] | None = None) -> OwnHead[Any]:
        """Return the `OwnHead` of a task that trains none, with options of the task.

        Raises:
            InputError: the task has no such option, or a value is not allowed.
        """
        head: OwnHead[Any] = resolve_name(self.own_head)
        return head.with_options(options, f"task {self.name}") if options else head

    def load_settings(self, recipe: str | Path, engine: Engine) -> tuple[Settings, str]:
        """Return the settings of a recipe for an engine, and the recipe's name in records.

        `recipe` is `smoke`, `official` or a YAML file. A file holds the keys of `Settings` directly
        (not below `smoke:` or `official:`), may have `engines: {onepass: {...}, s3prl: {...}}` with
        the keys that differ for an engine, and may have `extends: smoke` or `extends: official`:
        then it needs only the keys that differ. Its name is its key `name`, or its stem: a table
        over several tasks holds rows of recipes of one name.

        Raises:
            InputError: the recipe is invalid; the message names the file and the key. Or the task
                trains no head.
        """
        if not self.trains_head:
            raise InputError(f"task {self.name}: trains no head, so it takes no recipe")
        return _load_settings(self, recipe, engine)

    def figures(self) -> dict[str, Any]:
        """Return the declaration as `ls tasks` shows it."""
        return {
            "name": self.name,
            "version": self.version,
            "title": self.title,
            "corpus": self.corpus,
            "metric": self.metric,
            "unit": self.unit,
            "higher_is_better": self.higher_is_better,
            "s3prl": self.s3prl,
            "head": self.head,
            "variants": self.variants,
        }

    @property
    def unit(self) -> str:
        """The unit of its scores."""
        return find_metric(self.metric).unit

    @property
    def higher_is_better(self) -> bool:
        """Whether a higher score is better."""
        return find_metric(self.metric).higher_is_better


class RecognitionHead(BaseModel):
    """Sizes and SpecAugment of the recogniser that ASR trains: s3prl's `RNNs` and `specaug`."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    project_dim: int = Field(default=1024, ge=1)
    """Width of the linear between the weighted sum and the LSTM."""
    rnn_dim: int = Field(default=1024, ge=1)
    """Number of units of an LSTM layer, in each direction."""
    rnn_layers: int = Field(default=2, ge=1)
    dropout: float = Field(default=0.2, ge=0, lt=1)
    """Dropout probability after every LSTM layer."""
    specaug: bool = True
    """Apply SpecAugment to the weighted sum during training."""


class Settings(BaseModel):
    """Settings of a run of a task: the keys of a recipe."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    total_steps: int = Field(ge=1)
    """Number of optimizer updates of the head."""
    batch_size: int = Field(ge=1)
    """Number of utterances per batch."""
    accumulation: int = Field(default=1, ge=1)
    """Number of batches whose gradients are accumulated for one update."""
    eval_step: int = Field(ge=1)
    """Number of updates between two evaluations on dev. Updates after the last have no effect."""
    learning_rates: tuple[float, ...] = Field(min_length=1)
    """Learning rates. A head is trained at each; the best on dev is tested."""
    rate_from: Literal["onepass"] | None = None
    """s3prl: train only at the learning rate that the one-pass engine chose on dev for the same
    upstream, corpus and recipe; where that engine cannot score the upstream, try `learning_rates`.
    """
    optimizer: Literal["Adam"] = "Adam"
    gradient_clipping: float = Field(default=1.0, gt=0)
    """Maximum norm of the gradients of all trainable parameters together."""
    projector_dim: int = Field(default=256, ge=1)
    """KS, SID, ER, IC, PR: width between the head's two linear layers."""
    recognition: RecognitionHead | None = None
    """ASR: the head."""
    first_state: int = Field(default=0, ge=0)
    """onepass: the head's weighted sum leaves out the hidden states before this one. 1 leaves out
    the input of the first Transformer layer, which no pruning of the Transformer changes."""
    padding: Padding = "independent"
    """Padding of shorter utterances in a batch, if the caller gives none."""
    crops_per_file: int = Field(default=512, ge=1)
    """onepass, KS: evenly spaced 1 s crops per background file, in place of random ones."""
    longest_seconds: float = Field(default=8.0, gt=0)
    """SID: longer training clips are cropped to this length, at a new random place every time."""
    crops_per_clip: int = Field(default=4, ge=1)
    """onepass, SID: number of fixed random crops that replace those of a longer training clip."""
    num_workers: int = Field(default=0, ge=0)
    """s3prl: number of processes that read audio. They also draw the random crops, so results
    change with their number. The one-pass engine has none."""
    seconds_per_batch: float = Field(default=16.0, gt=0)
    """onepass: seconds of audio, padding included, in one forward pass of the upstream. Changes
    results by rounding only."""
    frames: FrameSource = "auto"
    """onepass, ASR and PR: `stored` computes the frames of all utterances once and keeps them on
    disk; `streamed` computes them again in every step, for all learning rates together; `auto`
    streams them if there is too little space. Changes results by rounding only."""
    streamed_dtype: Literal["float32", "bfloat16"] = "float32"
    """onepass, ASR and PR: number format in which the upstream computes streamed frames. bfloat16
    needs `frames: streamed`, and is faster on GPUs and CPUs that have it."""
    shared_batches: bool = False
    """onepass, ASR and PR: all seeds train on the same batches in the same order, so that streamed
    frames are computed once for all of them. The seed then decides the initial weights, dropout
    and SpecAugment, but not the order."""

    @model_validator(mode="after")
    def _usable(self) -> Settings:
        if any(rate <= 0 for rate in self.learning_rates):
            raise ValueError("learning_rates must be above 0")
        if len(set(self.learning_rates)) != len(self.learning_rates):
            raise ValueError("learning_rates holds one rate twice")
        if self.streamed_dtype == "bfloat16" and self.frames != "streamed":
            raise ValueError("streamed_dtype bfloat16 needs frames: streamed")
        if self.eval_step > self.total_steps:
            raise ValueError(
                f"eval_step {self.eval_step} is more than total_steps {self.total_steps}: "
                "nothing would ever be evaluated"
            )
        return self

    def identity(self) -> dict[str, Any]:
        """Return every setting that can change the result, ready for JSON.

        These are the protocol, the same for all upstreams: which learning rate `rate_from` leads to
        is not among them (see `cell.cell_stem`).
        """
        values = self.model_dump(mode="json", exclude={"seconds_per_batch", "frames"})
        if self.rate_from is None:  # as in records from before this setting
            del values["rate_from"]
        defaults = {"first_state": 0, "streamed_dtype": "float32", "shared_batches": False}
        for name, default in defaults.items():  # likewise
            if values[name] == default:
                del values[name]
        return values


def _load_settings(task: Task, recipe: str | Path, engine: Engine) -> tuple[Settings, str]:
    """See `Task.load_settings`."""
    if engine not in ENGINES:
        raise InputError(f"engine {engine}: not known; give one of {', '.join(ENGINES)}")
    where = name = str(recipe)
    if name in SHIPPED:
        where, shipped = _shipped(task)
        values = _section(shipped, name, where, engine)
    else:
        path = Path(recipe)
        given = _mapping(read_text(path, "smoke, official or a YAML file"), where)
        name = str(given.pop("name", path.stem))
        if name in SHIPPED:
            raise InputError(
                f"{where}: a recipe of one's own must not be called {name}; rename the file, or "
                "give it a name of its own (`name: ...`)"
            )
        base = given.pop("extends", None)
        values = {}
        if base is not None:
            if base not in SHIPPED:
                raise InputError(f"{where}: extends: {base}: must be smoke or official")
            source, shipped = _shipped(task)
            values = _section(shipped, base, source, engine)
        for key in SHIPPED:
            if key in given:
                raise InputError(
                    f"{where}: {key}: a recipe file holds the settings themselves; "
                    f"remove this level (or write `extends: {key}`)"
                )
        own = _for_engine(given, where, engine)
        if "learning_rates" in own:  # rates of one's own are to be tried, unless both are given
            values.pop("rate_from", None)
        values |= own
    if engine != "s3prl":
        values.pop("rate_from", None)
    settings = validated(Settings, values, where)
    if engine == "s3prl" and settings.first_state:
        raise InputError(
            f"{where}: first_state: {settings.first_state}: s3prl's head weighs all hidden states; "
            "score with the engine onepass, or leave first_state at 0"
        )
    if settings.rate_from is not None:
        _check_choice(task, recipe, where)
    return settings, name


def _shipped(task: Task) -> tuple[str, dict[str, Any]]:
    """Return the name of the file with a task's own recipes, and its content."""
    if task.recipes is not None:
        return str(task.recipes), _mapping(read_text(task.recipes, "a YAML file"), task.recipes)
    where = f"recipes/tasks/{task.name}.yaml"
    packaged = resources.files("s3prl_compress.recipes").joinpath("tasks", f"{task.name}.yaml")
    return where, _mapping(packaged.read_text("utf-8"), where)


def _check_choice(task: Task, recipe: str | Path, where: str) -> None:
    """Refuse `rate_from` if the one-pass engine has only one learning rate to choose from."""
    settings, _ = task.load_settings(recipe, "onepass")
    if len(settings.learning_rates) == 1:
        raise InputError(
            f"{where}: rate_from: onepass: the one-pass engine has one learning rate here, so it "
            "chooses none; give it several (learning_rates), or remove rate_from"
        )
    if settings.first_state:
        raise InputError(
            f"{where}: rate_from: onepass: the one-pass head leaves out hidden states here "
            "(first_state), so its learning rate is that of another head; remove one of the two"
        )


def _mapping(text: str, where: str | Path) -> dict[str, Any]:
    data = parse(text, where)
    if not isinstance(data, dict):
        raise InputError(f"{where}: must hold settings as `key: value` lines")
    return {str(key): value for key, value in data.items()}


def _section(data: dict[str, Any], name: str, where: str, engine: Engine) -> dict[str, Any]:
    if not isinstance(data.get(name), dict):
        raise InputError(f"{where}: {name}: is missing")
    return _for_engine(data[name], f"{where}: {name}", engine)


def _for_engine(given: dict[str, Any], where: str, engine: Engine) -> dict[str, Any]:
    """Merge a section's settings for all engines with those for this one."""
    values = dict(given)
    overrides = values.pop("engines", None) or {}
    if not isinstance(overrides, dict) or not set(overrides) <= set(ENGINES):
        raise InputError(f"{where}: engines: must have only the keys {', '.join(ENGINES)}")
    own = overrides.get(engine) or {}
    if not isinstance(own, dict):
        raise InputError(f"{where}: engines: {engine}: must hold `key: value` lines")
    return values | own
