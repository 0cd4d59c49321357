"""Which hidden states the one-pass heads weigh: what explains a score that pruning did not move."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pandas

from .table_model import Cell, Column, Line, Table, without_nan

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


def layer_weight_figures(frame: pandas.DataFrame) -> list[dict[str, Any]]:
    """Return the weights of every row of `leaderboard.leaderboard` that has them, for JSON."""
    keys = ("task", "engine", "padding", "recipe", "corpus", "upstream", "first_state")
    return [
        {**{key: row[key] for key in keys}, "layer_weights": list(row["layer_weights"])}
        for row in _rows(frame)
    ]


def layer_weights_table(frame: pandas.DataFrame) -> Table | None:
    """Return all rows' weights as one table; None where no row has them."""
    rows = list(_rows(frame))
    if not rows:
        return None
    states = max(len(row["layer_weights"]) for row in rows)
    columns = (
        Column("task", "task", numeric=False, below="corpus, recipe"),
        Column("upstream", "upstream", numeric=False),
        *(
            Column(f"state_{number}", str(number), f"hidden state {number}", best_high=True)
            for number in range(states)
        ),
    )
    lines = tuple(Line(_cells(row, states), reference=bool(row["reference"])) for row in rows)
    return Table(TITLE, ("one-pass heads", "percent"), columns, lines, (EXPLANATION, CAVEAT))


def _rows(frame: pandas.DataFrame) -> Iterator[dict[str, Any]]:
    for row in frame.to_dict("records"):
        if row["layer_weights"]:
            yield without_nan(row)


def _cells(row: Mapping[str, Any], states: int) -> tuple[Cell, ...]:
    where = f"{row['corpus']}, {row['recipe']}"
    cells = [
        Cell(row["task"], where, f"{row['block']:04}"),
        Cell(row["upstream"], "", row["upstream"].lower()),
    ]
    weights = row["layer_weights"]
    for number in range(states):
        known = row["first_state"] <= number < len(weights)
        cells.append(Cell(f"{100 * weights[number]:.1f}", "", weights[number]) if known else Cell())
    return tuple(cells)
