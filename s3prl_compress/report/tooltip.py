"""The tooltip of a point or a name: its figures, settings and provenance."""

from __future__ import annotations

from . import formats
from .roles import role_of
from .rows import Entry, OverviewRow, PublishedRow, Row


def tooltip_text(row: Entry) -> str:
    """Return lines of text, the upstream's name first."""
    tasks = row.tasks if isinstance(row, OverviewRow) else {}
    own = next(iter(tasks.values()), row)  # all tasks share the settings and the origin
    lines = [
        row.upstream,
        row.kind if isinstance(row, PublishedRow) else role_of(row),
        _score(row),
        *_difference(row),
        *(_task(name, task) for name, task in tasks.items()),
        *_costs(row),
    ]
    if isinstance(row, PublishedRow):
        lines.append(f"published: {row.source}")
    if isinstance(row, Row):
        lines += _settings(row)
    if isinstance(own, Row):
        lines += _provenance(own)
    return "\n".join(lines)


def _score(row: Entry) -> str:
    if row.score is None:
        return f"{row.metric}: not on every task"
    text = f"{row.metric} {formats.score(row.score, row.standard_error, 2)}"
    if row.score_low is not None and row.score_high is not None:
        text += f" (95 %: {row.score_low:.2f} to {row.score_high:.2f})"
    if isinstance(row, Row) and row.error_units:
        text += f", over {row.error_units}"
    return text


def _difference(row: Entry) -> list[str]:
    tested = row.significance if isinstance(row, Row) else None
    if tested is None or tested.difference is None:
        return []
    text = f"difference from dense {formats.signed(tested.difference, 2)}"
    if tested.p_value is None or tested.p_corrected is None or tested.detectable is None:
        return [f"{text}, {tested.resolution or 'not tested'}"]
    ends = (tested.difference_low, tested.difference_high)
    interval = " to ".join(formats.signed(end, 2) for end in ends if end is not None)
    return [
        f"{text} (95 %: {interval}), p {formats.p_value(tested.p_value)}, corrected "
        f"{formats.p_value(tested.p_corrected)}: {tested.resolution} "
        f"(smallest detectable: {tested.detectable:.2f})"
    ]


def _task(name: str, row: Row) -> str:
    score = formats.score(row.score, row.standard_error, 2)
    return "; ".join((f"{name.upper()} {score}", *_training(row)))


def _training(row: Row) -> list[str]:
    """Return what a head was trained with; nothing where none was."""
    if not row.seeds:
        return []
    return [f"seeds {row.seeds}, learning rate {row.learning_rate}"]


def _settings(row: Row) -> list[str]:
    """Return what a task was run with."""
    corpus = row.conditions
    return [*_training(row), f"corpus {corpus.corpus} ({corpus.corpus_fingerprint[:8]})"]


def _provenance(row: Row) -> list[str]:
    where, block = row.environment, row.conditions
    return [
        f"{block.engine} engine, {block.padding} padding, recipe {block.recipe}",
        f"{where.date[:10]}, {where.machine}, {where.device}",
        f"commit {(where.git_commit or 'unknown')[:12]}, weights {row.checkpoint_sha256[:12]}",
    ]


def _costs(row: Entry) -> list[str]:
    costs = []
    if row.parameters is not None:
        costs.append(f"{formats.count(row.parameters)} parameters")
    if row.macs_32 is not None:
        costs.append(f"{formats.giga(row.macs_32)} MACs")
    if row.speed.speedup is not None:
        costs.append(f"{row.speed.speedup:.2f}\N{MULTIPLICATION SIGN} speed-up")
    return [", ".join(costs)] if costs else []
