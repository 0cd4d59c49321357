"""The YAML file of a suite: its keys, and reading it with a one-line message for each mistake."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ..common.errors import InputError
from ..common.validation import MAX_THREADS
from ..common.yaml_files import Location, find_packaged, parse, read_text, validated
from ..results.records import Engine, Padding
from ..tasks.base.own_head import LanguageModelOptions

_MAX_SHARDS = 256
_VARIABLE = re.compile(r"\$\{(\w+)\}")


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class RandomUpstream(_Section):
    """An upstream with random weights, for demos, tests and controls."""

    shape: str
    """Name of a shape, see `s3prl-compress ls shapes`."""
    seed: int = Field(default=0, ge=0)
    """Random seed of the weights."""


class ExportEntry(_Section):
    """An upstream in the form that another runtime runs, as by `s3prl-compress export`."""

    format: Literal["onnx", "openvino"]
    """The runtime's format."""
    dtype: str = "float32"
    """Number format of its arithmetic: float32 or int8, and with openvino also bfloat16 or
    int8_bfloat16."""
    error_limit: float | None = Field(default=None, gt=0)
    """Largest relative error of the hidden states with which it is written; by default 0.05."""


class UpstreamEntry(_Section):
    """One upstream: exactly one of `source`, `random`, `from` and `s3prl`."""

    name: str = Field(pattern=r"^[\w.+-]+$", max_length=100)
    """Name in tables and of the folder below the output."""
    source: str | None = None
    """Checkpoint folder, transformers folder, s3prl-converted .pt file, or hub id."""
    normalize: bool | None = None
    """Whether waveforms are normalised; overrides the checkpoint. Only with `source`."""
    random: RandomUpstream | None = None
    base: str | None = Field(default=None, alias="from")
    """`from`: name of an earlier entry, which `method` compresses or `export` writes."""
    method: str | None = None
    """Name of a method, see `s3prl-compress ls methods`."""
    settings: dict[str, Any] = {}
    """Settings of the method."""
    stored_as: Literal["float32", "float16"] = "float32"
    """Number format of the stored weights; float16 halves the file size."""
    export: ExportEntry | None = None
    """Another form of the entry named by `from`, which is scored and timed on its runtime."""
    s3prl: str | None = None
    """Name of one of s3prl's own upstreams ("fbank", "hubert_local"): a third-party baseline."""
    checkpoint: str | None = None
    """Checkpoint file for an s3prl upstream that needs one."""

    @model_validator(mode="after")
    def _one_origin(self) -> UpstreamEntry:
        origins = (self.source, self.random, self.base, self.s3prl)
        if sum(origin is not None for origin in origins) != 1:
            raise ValueError("give exactly one of source, random, from and s3prl")
        ways = [way for way in (self.method, self.export) if way is not None]
        if len(ways) != (0 if self.base is None else 1):
            raise ValueError(
                "from and method, or from and export, need each other: give both or neither"
            )
        if self.export is not None and self.stored_as != "float32":
            raise ValueError("stored_as: an exported upstream's number format is export.dtype")
        if self.settings and self.method is None:
            raise ValueError("settings are those of a method: give from and method too")
        if self.normalize is not None and self.source is None:
            raise ValueError("normalize needs source; upstreams made from it inherit the value")
        if self.checkpoint is not None and self.s3prl is None:
            raise ValueError("checkpoint needs s3prl; give any other model file as source")
        return self


class TaskEntry(_Section):
    """One task on which upstreams are scored."""

    task: str
    """Name of a task, see `s3prl-compress ls tasks`."""
    data: str
    """Corpus folder, csv table for `prepare`, or `demo`. For a task that trains no head (ctc,
    whisper): one test set."""
    recipe: str = "smoke"
    """Settings of the heads: smoke, official, or a YAML file relative to the suite's folder."""
    engines: tuple[Engine, ...] = Field(default=("onepass",), min_length=1)
    """onepass, s3prl or both."""
    padding: Padding | None = None
    """How shorter utterances in a batch are padded; overrides the recipe."""
    seeds: tuple[int, ...] = ()
    """Random seeds of the heads; overrides the suite's."""
    options: dict[str, Any] = {}
    """For a task that trains no head: its own options, such as the language of whisper."""
    upstreams: tuple[str, ...] = ()
    """Names of the upstreams to score; empty: all of the suite's."""
    lm: LanguageModelOptions | None = None
    """ctc: a language model, with which every upstream is scored a second time."""


class TimeEntry(_Section):
    """Timing of all upstreams."""

    against: str | None = None
    """Name of the upstream that the others are compared with."""
    threads: int | None = Field(default=None, ge=1, le=MAX_THREADS)
    """Number of CPU threads."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Number format of weights and waveforms."""
    repeats: int = Field(default=10, ge=3)
    """Number of measured rounds."""
    warmup: int = Field(default=2, ge=0)
    """Number of rounds before the measured ones."""
    batch_size: int = Field(default=1, ge=1)
    """Above 1, throughput in batches of this many utterances is measured too."""
    utterances_per_bucket: int | None = Field(default=None, ge=1)
    """Number of utterances of each length bucket to use, at most 8 (the default)."""


class ClusterEntry(_Section):
    """Resources of a job on a cluster, with Slurm's name for each option."""

    partition: str | None = None
    gpus: int = Field(default=0, ge=0)
    """gpus-per-node: number of GPUs."""
    cpus: int = Field(default=4, ge=1)
    """cpus-per-task: number of CPU cores."""
    hours: float = Field(default=24.0, gt=0)
    """time: limit in hours; a job that reaches it is requeued and resumes."""
    memory_gb: float | None = Field(default=None, gt=0)
    """mem: memory in GB."""
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    setup: tuple[str, ...] = ()
    """Shell commands to run before each job, such as `module load cuda`."""
    requeues: int = Field(default=20, ge=0)
    """Number of times that a job may be requeued at its time limit; preemption does not count."""
    warning_seconds: int = Field(default=90, ge=1)
    """signal: seconds before the time limit at which a job is warned."""
    exclusive_timing: bool = True
    """Whether a timing job gets a node to itself, because other jobs would disturb it."""
    shards: int = Field(default=1, ge=1, le=_MAX_SHARDS)
    """Number of jobs that compute the features of an upstream on a task, for the one-pass engine.
    The results equal those of one job."""
    more: dict[str, Any] = {}
    """Further sbatch options, by their long names."""


class Suite(_Section):
    """A grid of upstreams x tasks x engines x seeds, with timing and a report.

    Paths are relative to the folder in which the command runs, except those of recipes.
    """

    output: str
    """Output folder."""
    upstreams: tuple[UpstreamEntry, ...] = Field(min_length=1)
    tasks: tuple[TaskEntry, ...] = ()
    seeds: tuple[int, ...] = Field(default=(0,), min_length=1)
    """Random seeds of the heads."""
    time: TimeEntry | None = None
    """Timing; none if left out."""
    device: str | None = None
    """torch device; by default CUDA if it is available, otherwise the CPU."""
    threads: int | None = Field(default=None, ge=1, le=MAX_THREADS)
    """Number of CPU threads."""
    cluster: ClusterEntry = ClusterEntry()
    """Resources of jobs; used with `--cluster` only."""

    @model_validator(mode="after")
    def _names_fit(self) -> Suite:
        known: list[str] = []
        third_party: list[str] = []
        exported: list[str] = []
        for entry in self.upstreams:
            if entry.name in known:
                raise ValueError(f"upstreams: the name {entry.name} is used twice")
            if entry.base is not None and entry.base not in known:
                raise ValueError(
                    f"upstreams: {entry.name}: from: no earlier upstream is named {entry.base}"
                )
            if entry.base in third_party:
                raise ValueError(
                    f"upstreams: {entry.name}: from: {entry.base} is s3prl's own upstream, which "
                    "cannot be compressed; give its weights as source instead"
                )
            if entry.base in exported:
                raise ValueError(
                    f"upstreams: {entry.name}: from: {entry.base} is exported, so that it cannot "
                    "be changed; name the upstream that it was made from"
                )
            if entry.s3prl is not None:
                third_party.append(entry.name)
            if entry.export is not None:
                exported.append(entry.name)
            known.append(entry.name)
        for task in self.tasks:
            for name in task.upstreams:
                if name not in known:
                    raise ValueError(f"tasks: {task.task}: upstreams: there is no upstream {name}")
        if self.time is not None and self.time.against not in (None, *known):
            raise ValueError(f"time: against: there is no upstream {self.time.against}")
        return self


def find_suite(name: str) -> Path:
    """Return the file of a suite, given by its path or by the name of a packaged suite ("demo").

    Raises:
        InputError: there is no such file and no packaged suite of this name.
    """
    return find_packaged(name, "suite")


def read_suite(path: Path) -> Suite:
    """Read and validate a suite; the paths of recipes become relative to the current folder.

    Raises:
        InputError: the file cannot be read or is invalid; the message names the file and the key.
    """
    data = _expand_variables(parse(read_text(path), path), path)
    suite = validated(Suite, data, path, _keys_beside)
    tasks = [_with_recipe_path(entry, path) for entry in suite.tasks]
    return suite.model_copy(update={"tasks": tuple(tasks)})


def _expand_variables(value: Any, path: Path) -> Any:
    """Replace `${NAME}` in all strings by the environment variable of that name."""
    if isinstance(value, dict):
        return {key: _expand_variables(item, path) for key, item in value.items()}
    if isinstance(value, list):
        return [_expand_variables(item, path) for item in value]
    if not isinstance(value, str):
        return value
    missing = [name for name in _VARIABLE.findall(value) if name not in os.environ]
    if missing:
        raise InputError(f"{path}: {value}: the environment variable {missing[0]} is not set")
    return _VARIABLE.sub(lambda match: os.environ[match[1]], value)


def _with_recipe_path(entry: TaskEntry, suite: Path) -> TaskEntry:
    from ..tasks.base.task import SHIPPED

    if entry.recipe in SHIPPED:
        return entry
    return entry.model_copy(update={"recipe": str(suite.parent / entry.recipe)})


def _keys_beside(location: Location) -> list[str]:
    """Return the keys that are allowed at the place of an unknown key."""
    models: dict[str, type[BaseModel]] = {
        "upstreams": UpstreamEntry,
        "tasks": TaskEntry,
        "time": TimeEntry,
        "cluster": ClusterEntry,
    }
    model: type[BaseModel] = models.get(str(location[0]), Suite) if len(location) > 1 else Suite
    if "random" in location[:-1]:
        model = RandomUpstream
    if "export" in location[:-1]:
        model = ExportEntry
    if "lm" in location[:-1]:
        model = LanguageModelOptions
    return [field.alias or name for name, field in model.model_fields.items()]
