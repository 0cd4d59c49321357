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
    lines += _tasks(row) + _costs(row)
    if row.get("engine"):
        lines.append(f"{row['engine']} engine, {row['padding']} padding, recipe {row['recipe']}")
        lines.append(f"seeds {row['seeds']}, learning rate {row['learning_rate']}")
        lines.append(f"corpus {row['corpus']} ({row['corpus_fingerprint'][:8]})")
        lines.append(f"{row['date'][:10]}, {row['machine']}, {row['device']}")
        commit = (row["git_commit"] or "unknown")[:12]
        lines.append(f"commit {commit}, weights {row['checkpoint_sha256'][:12]}")
    elif row.get("kind"):
        lines.append(f"published: {row['source']}")
    return "\n".join(lines)


def _score(row: Mapping[str, Any]) -> str:
    text = f"{row['metric']} {formats.score(row['score'], row['standard_error'], 2)}"
    if row.get("score_low") is not None:
        text += f" (95 %: {row['score_low']:.2f} to {row['score_high']:.2f})"
    return text


def _difference(row: Mapping[str, Any]) -> str:
    text = f"to dense {formats.signed(row['difference'], 2)}"
    if row["p_value"] is None:
        return f"{text}, not tested"
    verdict = "significant" if row["significant"] else "not significant"
    corrected = formats.p_value(row["p_corrected"])
    return f"{text}, p {formats.p_value(row['p_value'])}, corrected {corrected}: {verdict}"


def _tasks(row: Mapping[str, Any]) -> list[str]:
    tasks = row.get("tasks")
    if not tasks:
        return []
    return [", ".join(f"{task.upper()} {one['score']:.2f}" for task, one in tasks.items())]


def _costs(row: Mapping[str, Any]) -> list[str]:
    costs = []
    if row["parameters"] is not None:
        costs.append(f"{formats.count(row['parameters'])} parameters")
    if row["macs_32"] is not None:
        costs.append(f"{formats.giga(row['macs_32'])} MACs")
    if row.get("speedup") is not None:
        costs.append(f"{row['speedup']:.2f}\N{MULTIPLICATION SIGN} speed-up")
    return [", ".join(costs)] if costs else []
