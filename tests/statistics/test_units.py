from __future__ import annotations

from s3prl_compress.statistics import MINIMUM_SPEAKERS, sampling_units

MANY = [str(number) for number in range(MINIMUM_SPEAKERS)]


def test_enough_speakers_are_the_units() -> None:
    units = sampling_units([*MANY, *MANY])
    assert units.generalises
    assert units.units.tolist() == [*range(7), *range(7)]
    assert set(units.strata) == {0}
    assert str(units) == "7 speakers"


def test_an_utterance_without_a_speaker_stands_for_itself() -> None:
    units = sampling_units([*MANY, "", "", "0"])
    assert units.units.tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 0]
    assert units.speakers == 7
    # Not even where it might be taken for a speaker of that name.
    assert sampling_units(["", *MANY]).units.tolist() == list(range(8))


def test_few_speakers_are_strata() -> None:
    units = sampling_units(["a", "a", "b", "b", "b"])
    assert not units.generalises
    assert units.units.tolist() == [0, 1, 2, 3, 4]
    assert units.strata.tolist() == [0, 0, 1, 1, 1]
    assert str(units) == "5 utterances of 2 speakers"


def test_a_single_utterance_never_is_a_stratum() -> None:
    assert sampling_units(["a", "a", "b", "", "c"]).strata.tolist() == [0, 0, 1, 1, 1]
    assert sampling_units(["a", "a", "b"]).strata.tolist() == [0, 0, 0]


def test_without_names_utterances_are_the_units() -> None:
    units = sampling_units(["", "", ""])
    assert (units.units.tolist(), units.strata.tolist()) == ([0, 1, 2], [0, 0, 0])
    assert (units.speakers, units.generalises, str(units)) == (0, False, "3 utterances")
