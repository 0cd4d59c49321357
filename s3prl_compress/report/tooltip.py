"""What a point says when one points at it: its figures, settings and provenance."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from . import formats
from .rows import role_of


def hover_text(row: Mapping[str, Any]) -> str:
    """Return lines of text, the upstream's name first, whatever of these the row has."""
    lines = [row["upstream"], row.get("kind") or role_of(row), _score(row)]
    lines += [_difference(row)] if row.get("difference") is not None else []
    tasks = row.get("tasks", {})
    lines += [_task(name, task) for name, task in tasks.items()]
    lines += _costs(row)
    if row.get("kind"):
        lines.append(f"published: {row['source']}")
    else:
        lines += _settings(row) + _provenance(next(iter(tasks.values()), row))
    return "\n".join(lines)


def _score(row: Mapping[str, Any]) -> str:
    text = f"{row['metric']} {formats.score(row['score'], row['standard_error'], 2)}"
    if row.get("score_low") is not None:
        text += f" (95 %: {row['score_low']:.2f} to {row['score_high']:.2f})"
    if row.get("error_units"):
        text += f", over {row['error_units']}"
    return text


def _difference(row: Mapping[str, Any]) -> str:
    text = f"to dense {formats.signed(row['difference'], 2)}"
    if row["p_value"] is None:
        return f"{text}, {row['resolution'] or 'not tested'}"
    low, high = (formats.signed(row[f"difference_{end}"], 2) for end in ("low", "high"))
    return (
        f"{text} (95 %: {low} to {high}), p {formats.p_value(row['p_value'])}, corrected "
        f"{formats.p_value(row['p_corrected'])}: {row['resolution']} "
        f"({row['detectable']:.2f} would have been found)"
    )


def _task(name: str, row: Mapping[str, Any]) -> str:
    score = formats.score(row["score"], row["standard_error"], 2)
    return "; ".join((f"{name.upper()} {score}", *_training(row)))


def _training(row: Mapping[str, Any]) -> list[str]:
    """Return what a head was trained with; nothing where none was."""
    if not row["seeds"]:
        return []
    return [f"seeds {row['seeds']}, learning rate {row['learning_rate']}"]


def _settings(row: Mapping[str, Any]) -> list[str]:
    """Return what one task was run with; of all tasks, `_task` says it of each."""
    if "tasks" in row:
        return []
    return [
        *_training(row),
        f"corpus {row['corpus']} ({row['corpus_fingerprint'][:8]})",
    ]


def _provenance(row: Mapping[str, Any]) -> list[str]:
    commit = (row["git_commit"] or "unknown")[:12]
    return [
        f"{row['engine']} engine, {row['padding']} padding, recipe {row['recipe']}",
        f"{row['date'][:10]}, {row['machine']}, {row['device']}",
        f"commit {commit}, weights {row['checkpoint_sha256'][:12]}",
    ]


def _costs(row: Mapping[str, Any]) -> list[str]:
    costs = []
    if row["parameters"] is not None:
        costs.append(f"{formats.count(row['parameters'])} parameters")
    if row["macs_32"] is not None:
        costs.append(f"{formats.giga(row['macs_32'])} MACs")
    if row.get("speedup") is not None:
        costs.append(f"{row['speedup']:.2f}\N{MULTIPLICATION SIGN} speed-up")
    return [", ".join(costs)] if costs else []
