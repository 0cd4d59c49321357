"""Which hidden states the one-pass heads weigh: what explains a score that pruning did not move."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .rows import Row
from .table_model import Cell, Column, Table, make_table

TITLE = "Layer weights"
EXPLANATION = (
    "Share of each hidden state in the weighted sum of the head, in percent; mean over seeds. The "
    "weight of state 0, the input of the first Transformer layer (the convolutions' projected "
    "output with positions added), is what a head takes from where no pruning of the Transformer "
    "reaches."
)
CAVEAT = (
    "A weight says how much a state contributes only as far as the states have similar norms: as "
    "s3prl's Featurizer does by default, the head sums them without normalising them first."
)


def layer_weight_figures(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return the weights of every row of `leaderboard.leaderboard` that has them, for JSON."""
    return [
        {
            "task": row.task,
            "engine": row.conditions.engine,
            "padding": row.conditions.padding,
            "recipe": row.conditions.recipe,
            "corpus": row.conditions.corpus,
            "upstream": row.upstream,
            "first_state": row.first_state,
            "layer_weights": list(row.layer_weights),
        }
        for row in rows
        if row.layer_weights
    ]


def layer_weights_table(rows: Sequence[Row]) -> Table[Row] | None:
    """Return all rows' weights as one table; None if no row has them."""
    rows = [row for row in rows if row.layer_weights]
    if not rows:
        return None
    states = max(len(row.layer_weights) for row in rows)
    columns = (_TASK, _UPSTREAM, *(_state(number) for number in range(states)))
    facts = ("one-pass heads", "percent")
    return make_table(TITLE, facts, columns, rows, notes=(EXPLANATION, CAVEAT))


def _task(row: Row, rows: Sequence[Row]) -> Cell:
    below = f"{row.conditions.corpus}, {row.conditions.recipe}"
    return Cell(row.task, below, f"{row.block:04}")


def _upstream(row: Row, rows: Sequence[Row]) -> Cell:
    return Cell(row.upstream, "", row.upstream.lower())


def _state(number: int) -> Column[Row]:
    """Return the column of one hidden state."""
    return Column(
        f"state_{number}",
        str(number),
        f"hidden state {number}",
        best_high=True,
        value=_share(number),
        text=lambda share: f"{100 * share:.1f}",
    )


def _share(number: int) -> Callable[[Row], float | None]:
    """Return the function from a row to a state's weight; None where the row has no such state."""

    def share(row: Row) -> float | None:
        known = row.first_state <= number < len(row.layer_weights)
        return row.layer_weights[number] if known else None

    return share


_TASK: Column[Row] = Column("task", "task", numeric=False, below="corpus, recipe", cell=_task)
_UPSTREAM: Column[Row] = Column("upstream", "upstream", numeric=False, cell=_upstream)
