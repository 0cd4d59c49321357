"""Provenance of a report's numbers: machines, dates, versions and commands."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ..results.records import Environment, Record


@dataclass(frozen=True)
class Origin:
    """One machine with one set of versions, and the commands that were run there."""

    machine: str
    versions: str
    code: str
    dates: str
    records: int
    commands: tuple[str, ...]


def origins(records: Iterable[Record]) -> list[Origin]:
    """Group the records' environments: same machine, device, versions and commit together."""
    groups: dict[tuple[str, str, str], list[Environment]] = {}
    for record in records:
        where = record.environment
        threads = f"{where.threads} thread{'' if where.threads == 1 else 's'}"
        machine = f"{where.machine}, {where.device}, {threads}"
        key = (machine, _versions(where), _code(where))
        groups.setdefault(key, []).append(where)
    return [
        Origin(
            machine=machine,
            versions=versions,
            code=code,
            dates=_dates([where.date for where in places]),
            records=len(places),
            commands=tuple(sorted({where.command for where in places if where.command})),
        )
        for (machine, versions, code), places in sorted(groups.items())
    ]


def _versions(where: Environment) -> str:
    packages = (f"{name} {version}" for name, version in where.packages.items())
    return ", ".join((f"python {where.python}", *packages))


def _code(where: Environment) -> str:
    if where.git_commit is None:
        return "commit unknown"
    return f"commit {where.git_commit[:12]}{' with local changes' if where.git_dirty else ''}"


def _dates(dates: list[str]) -> str:
    first, last = min(dates), max(dates)
    return first if first == last else f"{first} to {last}"
