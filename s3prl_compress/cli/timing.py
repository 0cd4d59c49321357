"""`time` for encoders and for Whisper models, which are measured in different ways."""

from __future__ import annotations

from typing import Any

from ..common.errors import InputError
from ..encoder.importers import is_whisper
from ..latency import time_upstreams
from ..results.records import TimeRecord

_OF_ENCODERS = ("utterances_per_bucket", "normalize")
_OF_WHISPER = ("new_tokens",)


def time_models(model: str, against: str | None, **options: Any) -> TimeRecord:
    """Time a model, or two of the same kind.

    Args:
        model: a source that `load` or `whisper.load` accepts.
        against: another one.
        options: arguments of `time_upstreams` and of `time_whisper`; those that are None keep their
            defaults.

    Raises:
        InputError: the models are of two kinds, or an option does not apply to them.
    """
    whisper = is_whisper(model)
    if against is not None and is_whisper(against) != whisper:
        one, other = (model, against) if whisper else (against, model)
        raise InputError(f"{one} is a Whisper model and {other} is none: they cannot be compared")
    given = {name: value for name, value in options.items() if value is not None}
    useless = [name for name in (_OF_ENCODERS if whisper else _OF_WHISPER) if name in given]
    if useless:
        kind = "a Whisper model" if whisper else "no Whisper model"
        names = ", ".join(name.replace("_", "-") for name in useless)
        raise InputError(f"{model}: is {kind}, to which {names} does not apply; leave that out")
    if not whisper:
        return time_upstreams(model, against, **given)
    from ..whisper import time_whisper

    return time_whisper(model, against, **given)
