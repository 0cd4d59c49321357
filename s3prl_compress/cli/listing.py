"""What there is: methods and their settings, tasks, engines, upstreams, shapes, recipes."""

from __future__ import annotations

import json
import typing
from collections.abc import Callable
from dataclasses import asdict
from importlib import resources
from importlib.abc import Traversable
from typing import TYPE_CHECKING, Any

from ..common.command_result import CommandResult, table
from ..common.errors import InputError

if TYPE_CHECKING:
    from pydantic import BaseModel

    from ..methods import MethodInfo
    from ..tasks.base.task import Task

ENGINES = {
    "onepass": "each utterance through the upstream once, heads trained on stored means; minutes",
    "s3prl": "s3prl's own runner in a child process; the official way, hours to days",
}

Listing = Callable[[str | None, bool], CommandResult]


def list_methods(name: str | None, verbose: bool) -> CommandResult:
    """List compression methods; one of them, or all when verbose, with the settings."""
    from ..methods import available

    known = available()
    chosen = known if name is None else {name: _chosen(name, known, "method")}
    figures = {"methods": [_method_figures(info) for info in chosen.values()]}
    if name is not None or verbose:
        return CommandResult(figures, "\n\n".join(_method_text(info) for info in chosen.values()))
    rows = [(info.name, info.needs, info.summary) for info in known.values()]
    return CommandResult(
        figures,
        table(rows, ("method", "needs", "what it does")),
        ("settings of one: s3prl-compress ls methods NAME",),
    )


def list_tasks(name: str | None, verbose: bool) -> CommandResult:
    """List the tasks; one of them, or all when verbose, with corpus and head."""
    from ..evaluation import TASKS
    from ..tasks.base.task import CTC_TASK

    known = TASKS | {CTC_TASK.name: CTC_TASK}
    chosen = known if name is None else {name: _chosen(name, known, "task")}
    declarations = [_declaration(task) for task in chosen.values()]
    figures = {"tasks": declarations}
    if name is not None or verbose:
        return CommandResult(figures, "\n\n".join(table(one.items()) for one in declarations))
    rows = [(t.name, t.version, t.title, f"{t.metric} ({t.unit})") for t in known.values()]
    return CommandResult(figures, table(rows, ("task", "version", "title", "metric")))


def _declaration(task: Task) -> dict[str, Any]:
    """Return what a task declares, with what its metric says about its scores."""
    declared: dict[str, Any] = {}
    for key, value in asdict(task).items():
        declared[key] = value
        if key == "metric":
            declared |= {"unit": task.unit, "higher_is_better": task.higher_is_better}
    return declared


def list_engines(name: str | None, verbose: bool) -> CommandResult:
    """List the engines that score."""
    chosen = ENGINES if name is None else {name: _chosen(name, ENGINES, "engine")}
    figures = {"engines": [{"name": key, "what": text} for key, text in chosen.items()]}
    return CommandResult(figures, table(chosen.items(), ("engine", "what it is")))


def list_upstreams(name: str | None, verbose: bool) -> CommandResult:
    """List the upstreams that this package adds to s3prl."""
    known = {
        entry.name: _first_line(entry / "expert.py")
        for entry in resources.files("s3prl_compress.upstreams").iterdir()
        if (entry / "hubconf.py").is_file()
    }
    chosen = known if name is None else {name: _chosen(name, known, "upstream")}
    figures = {"upstreams": [{"name": key, "what": text} for key, text in chosen.items()]}
    return CommandResult(
        figures,
        table(sorted(chosen.items()), ("upstream", "what it is")),
        (
            "in s3prl: python -m s3prl_compress.run_downstream -u compressed -k FOLDER ...",
            "          python -m s3prl_compress.run_downstream -u hubert_demo ...",
        ),
    )


def list_shapes(name: str | None, verbose: bool) -> CommandResult:
    """List the shapes that `inspect` and `random` know by name; weights are never implied."""
    from ..encoder import NAMED_SHAPES

    chosen = NAMED_SHAPES if name is None else {name: _chosen(name, NAMED_SHAPES, "shape")}
    rows = [(key, shape.family, len(shape.layers), shape.hidden) for key, shape in chosen.items()]
    keys = ("name", "family", "layers", "hidden")
    figures = {"shapes": [dict(zip(keys, row, strict=True)) for row in rows]}
    return CommandResult(
        figures,
        table(rows, ("shape", *keys[1:])),
        ("cost of one: s3prl-compress inspect SHAPE",),
    )


def list_recipes(name: str | None, verbose: bool) -> CommandResult:
    """List the packaged recipes: suites, and those for `score`, `compress` and pre-training."""
    folder = resources.files("s3prl_compress.recipes")
    known = {f"recipes/{entry.name}": _first_line(entry) for entry in _recipes(folder)}
    for part in ("tasks", "compress", "pretrain"):
        known |= {f"recipes/{part}/{e.name}": _first_line(e) for e in _recipes(folder / part)}
    chosen = known if name is None else {name: _chosen(name, known, "recipe")}
    figures = {"recipes": [{"name": key, "what": text} for key, text in chosen.items()]}
    return CommandResult(figures, table(sorted(chosen.items()), ("recipe", "what it is")))


LISTINGS: dict[str, Listing] = {
    "methods": list_methods,
    "tasks": list_tasks,
    "engines": list_engines,
    "upstreams": list_upstreams,
    "shapes": list_shapes,
    "recipes": list_recipes,
}


def setting_helps(config: type[BaseModel]) -> dict[str, str]:
    """Return, for every setting of a method, what it means, takes, and is by default."""
    helps = {}
    for name, field in config.model_fields.items():
        meaning = " ".join((field.description or "").split())
        given = "required" if field.is_required() else f"default: {_default(field)}"
        helps[name] = f"{meaning} ({_type_name(field.annotation)}; {given})".strip()
    return helps


def _chosen(name: str, known: Any, kind: str) -> Any:
    if name not in known:
        raise InputError(f"no {kind} {name!r}; there are: {', '.join(known)}")
    return known[name]


def _method_figures(info: MethodInfo) -> dict[str, Any]:
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
    """Say what a setting takes, as a person would."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Literal:
        return "|".join(map(str, arguments))
    if origin is typing.Annotated:
        return _type_name(arguments[0])
    if origin is tuple:
        return f"some of {_type_name(arguments[0])}"
    if arguments:
        return " or ".join(_type_name(part) for part in arguments)
    names = {"NoneType": "null", "str": "text", "int": "integer", "float": "number"}
    name = getattr(annotation, "__name__", str(annotation))
    return names.get(name, name)


def _recipes(folder: Traversable) -> list[Traversable]:
    found = [entry for entry in folder.iterdir() if entry.name.endswith(".yaml")]
    return sorted(found, key=lambda entry: entry.name)


def _first_line(file: Traversable) -> str:
    """Return the first line's words, without the marks of a comment or docstring."""
    lines = file.read_text("utf-8").splitlines() or [""]
    return lines[0].strip('#" ').rstrip(".")
