"""The leaderboard as CSV: one line per row, every figure at full precision."""

from __future__ import annotations

import pandas


def csv(frame: pandas.DataFrame, speeds: list[tuple[str, pandas.DataFrame]]) -> str:
    """Return `leaderboard.leaderboard`'s table as CSV; without scores, the speed tables instead.

    Where each line came from (machine, versions, commit, date, command) stands in its own columns,
    so that the file reads back with `pandas.read_csv` and nothing else.
    """
    if frame.empty:
        parts = [table.assign(identity=identity) for identity, table in speeds]
        frame = pandas.concat(parts, ignore_index=True)
    flat = frame.assign(notes=["; ".join(notes) for notes in frame["notes"]])
    flat = flat.drop(columns=["predictions", "seed_scores"], errors="ignore")
    for column in ("p_segments", "compared_rows", "error_speakers"):
        if column in flat:
            flat[column] = flat[column].astype("Int64")  # whole numbers beside missing ones
    for column, separator in (("front", ", "), ("fold_sizes", " "), ("layer_weights", " ")):
        if column in flat:
            flat[column] = [separator.join(map(str, values)) for values in flat[column]]
    text: str = flat.to_csv(index=False, lineterminator="\n")
    return text
