"""`ls`: list methods and their settings, tasks, engines, upstreams, shapes and recipes."""

from __future__ import annotations

import json
import typing
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib import resources
from importlib.abc import Traversable
from typing import TYPE_CHECKING, Any, Literal

from ..common.command_result import CommandResult, table
from ..common.errors import InputError

if TYPE_CHECKING:
    from pydantic import BaseModel

    from ..methods import MethodInfo
    from ..tasks.base.task import Task

ENGINES = {
    "onepass": "runs the upstream once and trains heads on cached features; minutes",
    "s3prl": "drives s3prl's official runner in a child process; hours to days",
}

Listing = Callable[[str | None, bool], CommandResult]


def ls(
    kind: Literal["methods", "tasks", "engines", "upstreams", "shapes", "recipes", "formats"],
    name: str | None = None,
    *,
    verbose: bool = False,
) -> CommandResult:
    """List the available methods, tasks, engines, upstreams, shapes, recipes or formats.

    Args:
        kind: what to list, one of methods, tasks, engines, upstreams, shapes, recipes, formats
        name: list only the entry of this name, with all details
        verbose: list all entries with all details
    """
    return LISTINGS[kind](name, verbose)


def list_methods(name: str | None, verbose: bool) -> CommandResult:
    """List the compression methods; a single one, or all of them if verbose, with settings."""
    from ..methods import available

    known = available()
    chosen = known if name is None else {name: _chosen(name, known, "method")}
    data = {"methods": [_method_data(info) for info in chosen.values()]}
    if name is not None or verbose:
        return CommandResult(data, "\n\n".join(_method_text(info) for info in chosen.values()))
    rows = [(info.name, info.needs, info.summary) for info in known.values()]
    return CommandResult(
        data,
        table(rows, ("method", "needs", "what it does")),
        ("settings of a method: s3prl-compress ls methods NAME",),
    )


def list_tasks(name: str | None, verbose: bool) -> CommandResult:
    """List the tasks; one of them, or all when verbose, with corpus and head."""
    from ..tasks.registry import available_tasks

    known = available_tasks()
    chosen = known if name is None else {name: _chosen(name, known, "task")}
    data = {"tasks": [task.figures() for task in chosen.values()]}
    if name is not None or verbose:
        return CommandResult(
            data, "\n\n".join(table(task.figures().items()) for task in chosen.values())
        )
    rows = [(t.name, t.version, t.title, f"{t.metric} ({t.unit})") for t in known.values()]
    return CommandResult(data, table(rows, ("task", "version", "title", "metric")))


def _declaration(task: Task) -> dict[str, Any]:
    """Return what a task declares, with what its metric says about its scores."""
    declared: dict[str, Any] = {}
    for key, value in asdict(task).items():
        declared[key] = value
        if key == "metric":
            declared |= {"unit": task.unit, "higher_is_better": task.higher_is_better}
    return declared


def list_engines(name: str | None, verbose: bool) -> CommandResult:
    """List the engines that train and evaluate heads."""
    chosen = ENGINES if name is None else {name: _chosen(name, ENGINES, "engine")}
    data = {"engines": [{"name": key, "what": text} for key, text in chosen.items()]}
    return CommandResult(data, table(chosen.items(), ("engine", "description")))


def list_upstreams(name: str | None, verbose: bool) -> CommandResult:
    """List the upstreams that this package adds to s3prl."""
    known = {
        entry.name: _first_line(entry / "expert.py")
        for entry in resources.files("s3prl_compress.upstreams").iterdir()
        if (entry / "hubconf.py").is_file()
    }
    chosen = known if name is None else {name: _chosen(name, known, "upstream")}
    data = {"upstreams": [{"name": key, "what": text} for key, text in chosen.items()]}
    return CommandResult(
        data,
        table(sorted(chosen.items()), ("upstream", "description")),
        (
            "in s3prl: python -m s3prl_compress.run_downstream -u compressed -k FOLDER ...",
            "          python -m s3prl_compress.run_downstream -u hubert_demo ...",
        ),
    )


def list_shapes(name: str | None, verbose: bool) -> CommandResult:
    """List the shapes that `inspect` and `random` know by name; they come without weights."""
    from ..encoder import NAMED_SHAPES

    chosen = NAMED_SHAPES if name is None else {name: _chosen(name, NAMED_SHAPES, "shape")}
    rows = [(key, shape.family, len(shape.layers), shape.hidden) for key, shape in chosen.items()]
    keys = ("name", "family", "layers", "hidden")
    data = {"shapes": [dict(zip(keys, row, strict=True)) for row in rows]}
    return CommandResult(
        data,
        table(rows, ("shape", *keys[1:])),
        ("size and cost of a shape: s3prl-compress inspect SHAPE",),
    )


def list_recipes(name: str | None, verbose: bool) -> CommandResult:
    """List the packaged YAML files: suites, and recipes of tasks, `compress` and `pretrain`."""
    folder = resources.files("s3prl_compress.recipes")
    known = {f"recipes/{entry.name}": _first_line(entry) for entry in _recipes(folder)}
    for part in ("tasks", "compress", "pretrain"):
        known |= {f"recipes/{part}/{e.name}": _first_line(e) for e in _recipes(folder / part)}
    chosen = known if name is None else {name: _chosen(name, known, "recipe")}
    data = {"recipes": [{"name": key, "what": text} for key, text in chosen.items()]}
    return CommandResult(data, table(sorted(chosen.items()), ("recipe", "description")))


def list_formats(name: str | None, verbose: bool) -> CommandResult:
    """List the formats that `export` can write."""
    from ..encoder.exporters import export_targets
    from ..whisper.exporters import whisper_targets

    known = {key: [target.summary] for key, target in export_targets().items()}
    for key, whole in whisper_targets().items():
        known.setdefault(key, []).append(whole.summary)
    chosen = known if name is None else {name: _chosen(name, known, "format")}
    lines = [(key, text) for key, texts in chosen.items() for text in texts]
    data = {"formats": [{"name": key, "what": text} for key, text in lines]}
    return CommandResult(data, table(lines, ("format", "description")))


LISTINGS: dict[str, Listing] = {
    "methods": list_methods,
    "tasks": list_tasks,
    "engines": list_engines,
    "upstreams": list_upstreams,
    "shapes": list_shapes,
    "recipes": list_recipes,
    "formats": list_formats,
}


@dataclass(frozen=True)
class SettingHelp:
    """One setting of a method, in the words of the help."""

    name: str
    meaning: str
    type: str
    """The accepted values: "number", "fold|share"."""
    default: str | None
    """As it is typed on the command line; None for a setting that must be given."""

    def __str__(self) -> str:
        given = "required" if self.default is None else f"default: {self.default}"
        return f"{self.meaning} ({self.type}; {given})".strip()


def describe_settings(config: type[BaseModel]) -> list[SettingHelp]:
    """Return the help of every setting of a method, in the order of their declaration."""
    return [
        SettingHelp(
            name,
            " ".join((field.description or "").split()),
            _type_name(field.annotation),
            None if field.is_required() else _default(field),
        )
        for name, field in config.model_fields.items()
    ]


def setting_helps(config: type[BaseModel]) -> dict[str, str]:
    """Return the help text of every setting of a method: meaning, type and default."""
    return {setting.name: str(setting) for setting in describe_settings(config)}


def _chosen(name: str, known: Any, kind: str) -> Any:
    if name not in known:
        raise InputError(f"no {kind} {name!r}; there are: {', '.join(known)}")
    return known[name]


def _method_data(info: MethodInfo) -> dict[str, Any]:
    return {
        "name": info.name,
        "needs": info.needs,
        "summary": info.summary,
        "reference": info.reference,
        "settings": setting_helps(info.config),
    }


def _method_text(info: MethodInfo) -> str:
    lines = [f"{info.name}: {info.summary} (needs {info.needs})", info.reference, "settings:"]
    lines += [f"  --{name}: {text}" for name, text in setting_helps(info.config).items()]
    return "\n".join(filter(None, lines))


def _default(field: Any) -> str:
    value = field.get_default(call_default_factory=True)
    if isinstance(value, (tuple, list)):
        return ",".join(map(str, value))
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _type_name(annotation: Any) -> str:
    """Return the type of a setting in words that a user can act on."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Literal:
        return "|".join(map(str, arguments))
    if origin is typing.Annotated:
        return _type_name(arguments[0])
    if origin is tuple:
        return f"one or more of {_type_name(arguments[0])}"
    if arguments:
        return " or ".join(_type_name(part) for part in arguments)
    names = {"NoneType": "null", "str": "text", "int": "integer", "float": "number"}
    name = getattr(annotation, "__name__", str(annotation))
    return names.get(name, name)


def _recipes(folder: Traversable) -> list[Traversable]:
    files = [entry for entry in folder.iterdir() if entry.name.endswith(".yaml")]
    return sorted(files, key=lambda entry: entry.name)


def _first_line(file: Traversable) -> str:
    """Return the first line of a file, without the marks of a comment or docstring."""
    lines = file.read_text("utf-8").splitlines() or [""]
    return lines[0].strip('#" ').rstrip(".")
