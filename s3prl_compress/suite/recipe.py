"""A suite's YAML file: its keys, and reading it with one clear line for each mistake."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ..common.errors import InputError
from ..common.yaml_files import Location, find_packaged, parse, read_text, validated
from ..results.records import Engine, Padding

_VARIABLE = re.compile(r"\$\{(\w+)\}")


class _Recipe(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class RandomUpstream(_Recipe):
    """Random weights: for demos and tests."""

    shape: str
    """Name of a shape, see `s3prl-compress ls shapes`."""
    seed: int = Field(default=0, ge=0)


class UpstreamEntry(_Recipe):
    """One upstream: exactly one of `source`, `random`, `from` and `s3prl`."""

    name: str = Field(pattern=r"^[\w.+-]+$")
    """In tables, and of its folder below the output."""
    source: str | None = None
    """A folder of ours, a transformers folder, an s3prl .pt, or a hub id."""
    normalize: bool | None = None
    """Of a source: whether waveforms are normalised, in place of what the checkpoint says."""
    random: RandomUpstream | None = None
    base: str | None = Field(default=None, alias="from")
    """`from`: name of an upstream further up, which `method` makes smaller."""
    method: str | None = None
    settings: dict[str, Any] = {}
    """Of the method."""
    stored_as: Literal["float32", "float16"] = "float32"
    """How a compressed upstream is kept; float16 takes half the space."""
    s3prl: str | None = None
    """Name of an upstream of s3prl's own ("fbank", "hubert_local"): a peer in the same table."""
    checkpoint: str | None = None
    """File for an upstream of s3prl's own that needs one."""

    @model_validator(mode="after")
    def _one_origin(self) -> UpstreamEntry:
        origins = (self.source, self.random, self.base, self.s3prl)
        if sum(origin is not None for origin in origins) != 1:
            raise ValueError("give exactly one of source, random, from and s3prl")
        if (self.method is not None) != (self.base is not None):
            raise ValueError("from and method go together")
        if self.settings and self.method is None:
            raise ValueError("settings go with from and method")
        if self.normalize is not None and self.source is None:
            raise ValueError("normalize goes with source; what is made from one inherits it")
        if self.checkpoint is not None and self.s3prl is None:
            raise ValueError("checkpoint goes with s3prl; a file that we can read is a source")
        return self


class TaskEntry(_Recipe):
    """One task for all upstreams."""

    task: str
    data: str
    """A corpus folder, a table for `prepare`, or `demo`."""
    recipe: str = "smoke"
    """smoke, official, or a YAML file; its path is seen from the suite's own folder."""
    engines: tuple[Engine, ...] = Field(default=("onepass",), min_length=1)
    padding: Padding | None = None
    seeds: tuple[int, ...] = ()
    """In place of the suite's."""
    upstreams: tuple[str, ...] = ()
    """Names; all of the suite's if there are none."""


class TimeEntry(_Recipe):
    """Timing of every upstream."""

    against: str | None = None
    """Name of the upstream that the others are compared with."""
    threads: int | None = Field(default=None, ge=1)
    dtype: Literal["float32", "bfloat16"] = "float32"
    repeats: int = Field(default=10, ge=3)
    warmup: int = Field(default=2, ge=0)
    batch_size: int = Field(default=1, ge=1)
    utterances_per_bucket: int | None = Field(default=None, ge=1)


class ClusterEntry(_Recipe):
    """What a job on a cluster is given; the names are ours, Slurm's own stand beside them."""

    partition: str | None = None
    gpus: int = Field(default=0, ge=0)
    """gpus-per-node."""
    cpus: int = Field(default=4, ge=1)
    """cpus-per-task."""
    hours: float = Field(default=24.0, gt=0)
    """time: a job that needs longer is requeued and goes on."""
    memory_gb: float | None = Field(default=None, gt=0)
    """mem."""
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    setup: tuple[str, ...] = ()
    """Shell commands before each job, such as `module load cuda`."""
    requeues: int = Field(default=20, ge=0)
    """How often a job that ran out of its hours is requeued. Preemption does not count."""
    warning_seconds: int = Field(default=90, ge=1)
    """signal: so long before the end of its hours a job is told."""
    exclusive_timing: bool = True
    """Whether a job that times has its node to itself: other jobs there would disturb it."""
    more: dict[str, Any] = {}
    """Anything else that sbatch takes, by its long option's name."""


class Suite(_Recipe):
    """Upstreams x tasks x engines x seeds, timing, and a report."""

    output: str
    """Folder of everything that is written; seen, as data and sources are, from the folder in
    which the command runs."""
    upstreams: tuple[UpstreamEntry, ...] = Field(min_length=1)
    tasks: tuple[TaskEntry, ...] = ()
    seeds: tuple[int, ...] = Field(default=(0,), min_length=1)
    time: TimeEntry | None = None
    device: str | None = None
    threads: int | None = Field(default=None, ge=1)
    cluster: ClusterEntry = ClusterEntry()
    """Resources for `--cluster`; without that option it is not looked at."""

    @model_validator(mode="after")
    def _names_fit(self) -> Suite:
        known: list[str] = []
        foreign: list[str] = []
        for entry in self.upstreams:
            if entry.name in known:
                raise ValueError(f"upstreams: the name {entry.name} is there twice")
            if entry.base is not None and entry.base not in known:
                raise ValueError(
                    f"upstreams: {entry.name}: from: there is no {entry.base} further up"
                )
            if entry.base in foreign:
                raise ValueError(
                    f"upstreams: {entry.name}: from: {entry.base} is s3prl's own; a method needs "
                    "an encoder of ours: give its weights as a source"
                )
            if entry.s3prl is not None:
                foreign.append(entry.name)
            known.append(entry.name)
        for task in self.tasks:
            for name in task.upstreams:
                if name not in known:
                    raise ValueError(f"tasks: {task.task}: upstreams: there is no {name}")
        if self.time is not None and self.time.against not in (None, *known):
            raise ValueError(f"time: against: there is no upstream {self.time.against}")
        return self


def find_suite(name: str) -> Path:
    """Return a suite's file: a path, or the name of a packaged one ("demo").

    Raises:
        InputError: there is neither.
    """
    return find_packaged(name, "suite")


def read_suite(path: Path) -> Suite:
    """Read and check a suite; task recipes come back as paths that can be opened from here.

    Raises:
        InputError: one line with the file and the key.
    """
    data = _filled_in(parse(read_text(path), path), path)
    suite = validated(Suite, data, path, _keys_beside)
    tasks = [_with_recipe_path(entry, path) for entry in suite.tasks]
    return suite.model_copy(update={"tasks": tuple(tasks)})


def _filled_in(value: Any, path: Path) -> Any:
    """Put environment variables in the place of their names, `${NAME}`, in all texts."""
    if isinstance(value, dict):
        return {key: _filled_in(one, path) for key, one in value.items()}
    if isinstance(value, list):
        return [_filled_in(one, path) for one in value]
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
    """Return the keys that may stand where a wrong one stood."""
    models: dict[str, type[BaseModel]] = {
        "upstreams": UpstreamEntry,
        "tasks": TaskEntry,
        "time": TimeEntry,
        "cluster": ClusterEntry,
    }
    model: type[BaseModel] = models.get(str(location[0]), Suite) if len(location) > 1 else Suite
    if "random" in location[:-1]:
        model = RandomUpstream
    return [field.alias or name for name, field in model.model_fields.items()]
