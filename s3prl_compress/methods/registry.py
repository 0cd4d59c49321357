"""The registry of compression methods, and the one function that runs them."""

from __future__ import annotations

import copy
import datetime
import importlib
import inspect
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import metadata
from typing import Any, Literal, TypeVar, get_args, get_type_hints

import torch
from pydantic import ValidationError

from ..common.errors import InputError
from ..common.extras import require_extra
from ..common.git import git_state
from ..common.method_config import MethodConfig
from ..common.model_errors import first_mistake
from ..encoder.model import SpeechEncoder
from ..encoder.provenance import MethodStep
from ..version import __version__

ENTRY_POINT_GROUP = "s3prl_compress.methods"
"""Entry point group in which other packages name modules that register methods on import."""

Needs = Literal["nothing", "audio", "transcribed_audio"]

_BUILT_IN = (
    "layers",
    "magnitude",
    "clustering",
    "low_rank",
    "structured",
    "dphubert",
    "distill",
    "prune_low_rank",
    "self_pinching",
    "ctc",
)


Method = Callable[[SpeechEncoder, Any], SpeechEncoder]
MethodFunction = TypeVar("MethodFunction", bound=Method)
Config = TypeVar("Config", bound=MethodConfig)


@dataclass(frozen=True)
class MethodInfo:
    """Description of a registered method."""

    name: str
    needs: Needs
    """Input that the method needs besides the encoder."""
    summary: str
    """First line of its docstring."""
    reference: str
    """Section `Reference:` of its docstring on one line; empty without one."""
    config: type[MethodConfig]
    """Class of its settings."""
    function: Method
    learns: bool = False
    """Whether the method trains, and therefore runs with gradients."""
    version: int = 1
    """Version of its result: raised whenever the same settings give another encoder."""

    def defaults(self) -> dict[str, Any]:
        """Return the default of every setting that has one."""
        return {
            name: field.get_default(call_default_factory=True)
            for name, field in self.config.model_fields.items()
            if not field.is_required()
        }


_methods: dict[str, MethodInfo] = {}
_failed: dict[str, str] = {}


def register(
    name: str, needs: Needs = "nothing", *, learns: bool = False, version: int = 1
) -> Callable[[MethodFunction], MethodFunction]:
    """Register a method: a function of an encoder and its settings that returns a new encoder.

    The second argument must be annotated with a subclass of `MethodConfig`, which declares the
    settings. The function must not change the encoder that it is given.

    Args:
        name: name of the method.
        needs: what it needs besides the encoder.
        learns: whether it trains; otherwise it runs without gradients.
        version: raise it whenever the same settings give another encoder than before. It is
            recorded in the history, and a suite replaces upstreams made by an older version.

    Raises:
        ValueError: the name is taken, the version is below 1, or the signature is not valid.
    """
    if needs not in get_args(Needs):
        raise ValueError(f"method {name}: needs {needs!r} is none of {get_args(Needs)}")
    if version < 1:
        raise ValueError(f"method {name}: version {version} must be 1 or more")

    def decorate(function: MethodFunction) -> MethodFunction:
        known = _methods.get(name)
        if known is not None and _origin(known.function) != _origin(function):
            raise ValueError(f"method {name} is already registered by {_origin(known.function)}")
        summary, reference = _docstring(function)
        _methods[name] = MethodInfo(
            name, needs, summary, reference, _config(function), function, learns, version
        )
        return function

    return decorate


def available() -> dict[str, MethodInfo]:
    """Return all methods by name: those of this package and of other installed packages."""
    _import_methods()
    return dict(sorted(_methods.items()))


def compress(encoder: SpeechEncoder, method: str = "clustering", **settings: Any) -> SpeechEncoder:
    """Return a compressed encoder; the given one is not changed.

    Args:
        encoder: an encoder of any shape. It may already be compressed: methods can be chained.
        method: one of `available()`.
        settings: settings of the method; see `available()[method].config`.

    Raises:
        InputError: the method or a setting does not exist, a value is not allowed, or the target
            cannot be reached on this encoder, or audio has changed while it was in use.
    """
    info = _find(method)
    config = check_settings(method, settings)
    with (
        torch.inference_mode(False),
        torch.set_grad_enabled(info.learns),
        config.unchanged_inputs(),
    ):
        result = info.function(encoder, config)
    if result is encoder:  # nothing to do; the copy gets a history of its own
        result = copy.deepcopy(encoder)
    result.provenance = encoder.provenance.after(method_step(method, info.version, config))
    result.stored_as = "float32"  # until it is saved otherwise
    return result


def method_step(method: str, version: int, config: MethodConfig) -> MethodStep:
    """Return the entry of a model's history for a method that was applied just now."""
    return MethodStep(
        method=method,
        method_version=version,
        settings=config.recorded(),
        version=__version__,
        git_commit=git_state()[0],
        date=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
    )


def check_settings(method: str, settings: Mapping[str, Any]) -> MethodConfig:
    """Return the validated settings of a method, with defaults for those that are not given.

    Raises:
        InputError: the method or a setting does not exist, a value is not allowed, or an extra of
            this package is not installed.
    """
    info = _find(method)
    if info.config.needs_extra is not None:
        require_extra(info.config.needs_extra, f"method {info.name}")
    return validated_settings(method, info.config, settings)


def validated_settings(method: str, config: type[Config], settings: Mapping[str, Any]) -> Config:
    """Return settings as an instance of a method's class of settings.

    Raises:
        InputError: a setting does not exist, or a value is not allowed.
    """
    try:
        return config.model_validate(settings)
    except ValidationError as error:
        reason = first_mistake(error, lambda location: list(config.model_fields), "setting")
        raise InputError(f"method {method}: {reason}") from error


def _find(method: str) -> MethodInfo:
    methods = available()
    if method not in methods:
        broken = f" ({method} failed to import: {_failed[method]})" if method in _failed else ""
        raise InputError(f"no method {method!r}{broken}; there are: {', '.join(methods)}")
    return methods[method]


def _config(function: Method) -> type[MethodConfig]:
    parameters = list(inspect.signature(function).parameters)
    hints = get_type_hints(function)
    config = hints.get(parameters[1]) if len(parameters) == 2 else None
    if not (isinstance(config, type) and issubclass(config, MethodConfig)):
        raise ValueError(
            f"{_origin(function)}: a method takes an encoder and its settings, the latter "
            "annotated with a subclass of MethodConfig"
        )
    return config


def _docstring(function: Method) -> tuple[str, str]:
    text = inspect.getdoc(function) or ""
    summary = text.split("\n", 1)[0].rstrip(".")
    if "Reference:" not in text:
        return summary, ""
    paragraph = text.split("Reference:", 1)[1].split("\n\n", 1)[0]
    return summary, " ".join(paragraph.split())


def _origin(function: Method) -> str:
    return f"{function.__module__}.{function.__qualname__}"


def _import_methods() -> None:
    for name in _BUILT_IN:
        importlib.import_module(f"{__package__}.{name}")
    for entry in metadata.entry_points(group=ENTRY_POINT_GROUP):
        if entry.name in _failed:
            continue
        try:
            entry.load()
        except Exception as error:  # a broken third-party package must not break this one
            _failed[entry.name] = f"{type(error).__name__}: {error}"
            warnings.warn(
                f"methods of {entry.value} are skipped: {_failed[entry.name]}", stacklevel=3
            )
