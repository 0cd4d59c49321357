from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import fields

import pandas
import pytest

from s3prl_compress.report.csv_file import data_frame
from s3prl_compress.report.leaderboard import leaderboard
from s3prl_compress.report.notes import footnotes
from s3prl_compress.report.rows import Conditions
from s3prl_compress.report.task_table import score_tables
from s3prl_compress.results.records import CorpusRecord, Record

from ..support.made_up import WHERE, a_board, score, timing, upstream

DENSE = upstream("dense")
SMALL = upstream("small", 0.5, ("magnitude(sparsity=0.5)",))


def board_frame(records: Sequence[Record]) -> pandas.DataFrame:
    return data_frame(leaderboard(records))


@pytest.mark.parametrize(
    "different",
    [
        {"engine": "s3prl"},
        {"padding": "fairseq"},
        {"task": "sid"},
        {"task_version": 2},
        {"variant": "digits"},
        {"recipe": "smoke"},
        {"settings": {"total_steps": 100}},
        {"metric": "error"},
        {"corpus": CorpusRecord(name="speech_commands", fingerprint="cd" * 32, sizes={})},
    ],
)
def test_rows_that_differ_in_their_conditions_share_no_block(different: dict[str, object]) -> None:
    frame = board_frame([score(DENSE, 96.0), score(SMALL, 90.0, **different)])
    assert list(frame["block"]) == [1, 2]
    assert frame["difference"].isna().all()


def test_no_block_of_a_whole_board_mixes_anything() -> None:
    frame = board_frame(a_board())
    assert frame["block"].nunique() == 2
    for _, block in frame.groupby("block"):
        assert (block[[field.name for field in fields(Conditions)]].nunique() == 1).all()
        assert list(block["row"]) == list(range(1, len(block) + 1))
        assert block["reference"].tolist() == [True] + [False] * (len(block) - 1)


def test_seeds_are_averaged_and_their_spread_widens_the_error() -> None:
    records = [score(DENSE, value, seed=seed) for seed, value in enumerate((95.0, 96.0, 97.0))]
    (row,) = board_frame(records).to_dict("records")
    assert row["score"] == pytest.approx(96.0)
    assert row["seeds"] == "0, 1, 2"
    assert row["seed_count"] == 3
    assert row["seed_spread"] == pytest.approx(1.0)
    assert row["standard_error"] == pytest.approx(math.sqrt(0.8**2 + 1 / 3))


@pytest.mark.parametrize(
    ("choices", "explanation"),
    [
        (("dev sweep", "dev sweep"), "chosen on dev"),
        (("one-pass", "one-pass"), "chosen on dev by the one-pass engine"),
        (("given", "given"), "not tuned"),
        (("dev sweep", "one-pass"), "see the notes"),
    ],
)
def test_the_rates_column_claims_no_choice_that_was_not_made(
    choices: tuple[str, str], explanation: str
) -> None:
    records = [
        score(who, 90.0, rate_choice=choice)
        for who, choice in zip((DENSE, SMALL), choices, strict=True)
    ]
    (table,) = score_tables(leaderboard(records))
    (column,) = [column for column in table.columns if column.key == "learning_rate"]
    assert column.explanation == explanation
    assert ("One learning rate, not tuned." in table.notes) == (choices[0] == "given")


def test_one_seed_keeps_its_own_error() -> None:
    (row,) = board_frame([score(DENSE, 95.0)]).to_dict("records")
    assert row["standard_error"] == pytest.approx(0.8)
    assert row["seed_spread"] is None or math.isnan(row["seed_spread"])


def test_of_one_seed_run_twice_the_newer_record_counts() -> None:
    later = WHERE.model_copy(update={"date": "2027-01-01T00:00:00+00:00"})
    frame = board_frame([score(DENSE, 90.0, environment=later), score(DENSE, 80.0)])
    assert frame["score"].tolist() == [90.0]


def test_the_difference_is_to_the_untouched_upstream_of_the_same_base() -> None:
    stranger = upstream("stranger", 0.9, base="another base")
    frame = board_frame([score(SMALL, 90.0), score(stranger, 50.0), score(DENSE, 96.0)])
    differences = dict(zip(frame["upstream"], frame["difference"], strict=True))
    assert differences["small"] == pytest.approx(-6.0)
    assert math.isnan(differences["dense"])
    assert math.isnan(differences["stranger"])


def test_times_join_by_checkpoint_even_under_another_name() -> None:
    renamed = SMALL.model_copy(update={"name": "somewhere/small"})
    records = [score(DENSE, 96.0), score(SMALL, 90.0), timing(renamed, DENSE, 2.5)]
    frame = board_frame(records).set_index("upstream")
    assert frame.loc["small", "speedup"] == 2.5
    assert frame.loc["small", "rtfx"] == pytest.approx(50)
    assert frame.loc["small", "speedup_against"] == "dense"
    assert frame.loc["small", "relative_time"] == pytest.approx(1 / 2.5)
    assert (
        frame.loc["small", "relative_time_low"] < 1 / 2.5 < frame.loc["small"]["relative_time_high"]
    )
    # The dense one was timed as the other of that run.
    assert frame.loc["dense", "relative_time"] == 1
    assert frame.loc["dense", "rtfx"] == pytest.approx(20)


def test_times_of_two_machines_never_stand_in_one_column() -> None:
    elsewhere = WHERE.model_copy(update={"machine": "another", "date": "2027-01-01T00:00:00"})
    half = upstream("half", 0.4, ("low_rank(keep=0.5)",))
    records = [
        score(DENSE, 96.0),
        score(SMALL, 90.0),
        score(half, 90.0),
        timing(SMALL, DENSE, 2.0),
        timing(half, None, 9.0, environment=elsewhere),
    ]
    frame = board_frame(records)
    assert set(frame["timing"].dropna()) == {
        "A processor, 2 cores, cpu, 2 threads, float32, torch 2.13.0, 32 utterances"
    }
    assert frame.set_index("upstream")["rtfx"].isna()["half"]


def test_a_speed_up_against_something_else_says_so() -> None:
    stranger = upstream("stranger")
    frame = board_frame([score(DENSE, 96.0), score(SMALL, 90.0), timing(SMALL, stranger)])
    notes = frame.set_index("upstream").loc["small", "notes"]
    assert frame["relative_time"].isna().all()
    assert any("Speed-up against stranger" in note for note in notes)


def test_somebody_elses_model_stands_last_and_is_timed_against_dense() -> None:
    peer = upstream("distil", 0.25, base="distilhubert_local")
    records = [score(peer, 99.0), score(SMALL, 90.0), score(DENSE, 96.0), timing(peer, DENSE, 4.0)]
    frame = board_frame(records)
    assert frame["upstream"].tolist() == ["dense", "small", "distil"]
    assert frame["reference"].tolist() == [True, False, False]
    row = frame.set_index("upstream").loc["distil"]
    assert math.isnan(row["difference"])
    assert row["relative_time"] == pytest.approx(0.25)
    assert not any("Speed-up against" in note for note in row["notes"])
    (table,) = score_tables(leaderboard(records))
    assert [line.cells[1].below for line in table.lines] == [
        "dense",
        "magnitude(sparsity=0.5)",
        "distilhubert_local",
    ]


def test_flags_become_notes_once() -> None:
    random = upstream("random", random_weights=True)
    generated = CorpusRecord(name="demo", fingerprint="ef" * 32, sizes={}, generated=True)
    frame = board_frame(
        [
            score(random, 9.0, corpus=generated, recipe="smoke", approximate=True),
            score(
                random,
                9.0,
                seed=1,
                corpus=generated,
                recipe="smoke",
                notes=("The corpus is generated speech.", "Silence is made of crops."),
            ),
        ]
    )
    (notes,) = frame["notes"]
    assert sum("generated" in note.lower() for note in notes) == 1
    assert sum("random weights" in note.lower() for note in notes) == 1
    assert sum("approximate" in note.lower() for note in notes) == 1
    assert sum("Recipe smoke" in note for note in notes) == 1
    assert "Silence is made of crops." in notes


def test_footnotes_of_all_rows_carry_no_letter() -> None:
    shared, own, marks = footnotes([("all", "one"), ("all",), ("all", "two", "one")])
    assert shared == ["all"]
    assert own == [("a", "one"), ("b", "two")]
    assert marks == ["a", "", "ab"]
