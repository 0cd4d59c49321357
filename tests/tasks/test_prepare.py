from __future__ import annotations

import csv
import json
from collections import Counter
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from s3prl_compress.common.errors import InputError
from s3prl_compress.tasks.ks.corpus import DIGITS, KS_CLASSES, split_of
from s3prl_compress.tasks.ks.prepare import demo_keywords, prepare_keywords, speaker_id
from s3prl_compress.tasks.registry import open_corpus

RATE = 16_000
SPLITS = ("train", "valid", "test")


def tone(seconds: float = 0.2, rate: int = RATE, channels: int = 1) -> np.ndarray:
    time = np.arange(int(seconds * rate)) / rate
    return np.repeat(0.5 * np.sin(2 * np.pi * 400 * time)[:, None], channels, axis=1)


def write(path: Path, samples: np.ndarray, rate: int = RATE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate, subtype="PCM_16")


def write_table(folder: Path, rows: list[dict[str, Any]], name: str = "metadata.csv") -> Path:
    path = folder / name
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=["file", "speaker", "extra", "label", "split"])
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.fixture
def rows(tmp_path: Path) -> list[dict[str, Any]]:
    """Twelve classes, two speakers who are in every split, background noise for train only."""
    found = []
    for split in SPLITS:
        for label in KS_CLASSES[:-1]:
            for speaker in ("Ann", "Bé"):
                file = f"audio/{split}-{label}-{speaker}.flac"
                write(tmp_path / file, tone())
                found.append({"file": file, "label": label, "speaker": speaker, "split": split})
    for label, split in (("_background_noise_", "train"), ("_silence_", "test")):
        write(tmp_path / f"audio/{split} hum.flac", tone(1.5))
        file = f"audio/{split} hum.flac"
        found.append({"file": file, "label": label, "speaker": "", "split": split})
    return found


@given(speaker=st.text(), split=st.sampled_from(["train", "dev", "test"]))
@settings(max_examples=200, deadline=None)
def test_an_id_falls_into_its_split(speaker: str, split: Literal["train", "dev", "test"]) -> None:
    identity = speaker_id(speaker, split)
    assert len(identity) == 8
    assert int(identity, 16) >= 0
    assert split_of(f"{identity}_nohash_0.wav") == split
    assert identity == speaker_id(speaker, split)


def test_prepared_corpus_has_the_table_s_splits(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    root = prepare_keywords(write_table(tmp_path, rows), tmp_path / "out", name="two people")
    corpus = open_corpus(root)
    corpus.check()
    assert (corpus.variant, corpus.name, corpus.generated) == ("official", "two people", False)
    assert [path.name for path in corpus.background()] == ["train_hum.wav"]
    speakers = []
    for split in ("train", "dev", "test"):
        items = corpus.items(split)
        words = dict.fromkeys(KS_CLASSES[:-1], 2)
        expected = {**words, "_silence_": 1} if split == "test" else words
        assert Counter(item.label for item in items) == expected
        speakers += sorted({item.path.name[:8] for item in items if item.label != "_silence_"})
    assert len(speakers) == len(set(speakers)) == 6
    for path in root.rglob("*.wav"):
        info = soundfile.info(path)
        assert (info.samplerate, info.channels, info.subtype) == (RATE, 1, "PCM_16")


def test_ten_digits_are_a_variant(tmp_path: Path) -> None:
    write(tmp_path / "a.wav", tone())
    rows = []
    for split in SPLITS:
        for digit in DIGITS:
            file = f"{split}-{digit}.wav"
            (tmp_path / file).symlink_to(tmp_path / "a.wav")
            rows.append({"file": file, "label": digit, "speaker": "x", "split": split})
    corpus = open_corpus(prepare_keywords(write_table(tmp_path, rows), tmp_path / "out"))
    corpus.check()
    assert corpus.variant == "digits"
    assert corpus.classes == DIGITS
    assert corpus.name == tmp_path.name


def test_16_bit_sources_come_through_unchanged(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    extremes = np.array([-32768, -32767, -20001, -1, 0, 1, 20001, 32766, 32767], dtype=np.int16)
    soundfile.write(tmp_path / rows[0]["file"], extremes, RATE)
    root = prepare_keywords(write_table(tmp_path, rows), tmp_path / "out")
    ann = speaker_id("Ann", "train")
    path = root / "speech_commands" / "yes" / f"{ann}_nohash_0.wav"
    assert np.array_equal(soundfile.read(path, dtype="int16")[0], extremes)


@pytest.mark.parametrize("rate", [8000, 22050, 48000])
def test_other_rates_and_channels_are_brought_to_16_khz(
    tmp_path: Path, rows: list[dict[str, Any]], rate: int
) -> None:
    write(tmp_path / rows[0]["file"], tone(0.5, rate, channels=2), rate)
    root = prepare_keywords(write_table(tmp_path, rows), tmp_path / "out")
    ann = speaker_id("Ann", "train")
    path = root / "speech_commands" / "yes" / f"{ann}_nohash_0.wav"
    samples = soundfile.read(path)[0]
    middle = slice(2000, 6000)
    assert samples.shape == (8000,)
    np.testing.assert_allclose(samples[middle], tone(0.5)[middle, 0], atol=0.005)


def test_a_second_call_leaves_the_corpus_alone(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    table = write_table(tmp_path, rows)
    root = prepare_keywords(table, tmp_path / "out")
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    assert prepare_keywords(table, tmp_path / "out") == root
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before


def test_other_content_in_the_way_is_refused(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    table, output = write_table(tmp_path, rows), tmp_path / "out"
    (output / "thesis").mkdir(parents=True)
    with pytest.raises(InputError, match="exists and is not a prepared corpus"):
        prepare_keywords(table, output)
    assert [path.name for path in output.iterdir()] == ["thesis"]
    (output / "thesis").rmdir()
    prepare_keywords(table, output)
    write(tmp_path / rows[0]["file"], tone(0.3))
    with pytest.raises(InputError, match="from another table, or from other recordings"):
        prepare_keywords(table, output)


def test_all_faults_of_a_table_are_listed(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    (tmp_path / "audio" / "empty.wav").write_bytes(b"")
    (tmp_path / "audio" / "noise.wav").write_text("noise", encoding="utf-8")
    write(tmp_path / "audio" / "short.wav", tone(0.5))
    changes: list[dict[str, Any]] = [
        {"file": "audio/absent.wav"},
        {"split": "trian"},
        {"label": ""},
        {"file": rows[40]["file"]},
        {"speaker": ""},
        {"file": "audio/empty.wav"},
        {"file": "audio/noise.wav"},
        {"file": "", "extra": "x"},
        {"label": "cheese"},
        {"label": "cheese"},
        {"file": "audio/short.wav", "label": "_silence_", "speaker": ""},
    ]
    for row, change in zip(rows[1::2], changes, strict=False):
        row.update(change)
    rows = [row for row in rows if (row["label"], row["split"]) != ("stop", "valid")]
    with pytest.raises(InputError) as caught:
        prepare_keywords(write_table(tmp_path, rows), tmp_path / "out")
    message = str(caught.value)
    assert "\n" not in message
    for part in (
        "missing file: 1 (audio/absent.wav)",
        "unknown split: 1 ('trian' on line 5)",
        "empty label: 1 (",
        "file listed twice: 1 (",
        "empty speaker: 1 (",
        "empty file: 1 (audio/empty.wav)",
        "unreadable file: 1 (audio/noise.wav)",
        "empty file name: 1 (",
        "label that is no class of the official variant: 2 (cheese x 2)",
        "background file shorter than 1 s: 1 (",
        "class without a clip: 1 (stop in dev)",
    ):
        assert part in message
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("file,label\na.wav,yes\n", "no column speaker, split"),
        ("file,label,speaker,split\n", "no rows"),
        ("", "no column file"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path: Path, text: str, words: str) -> None:
    table = tmp_path / "table.csv"
    table.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=words):
        prepare_keywords(table, tmp_path / "out")
    with pytest.raises(InputError, match="no such table"):
        prepare_keywords(tmp_path / "absent.csv", tmp_path / "out")


def test_a_failure_on_the_way_leaves_nothing(
    tmp_path: Path, rows: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    table = write_table(tmp_path, rows)
    before = set(tmp_path.iterdir())

    def interrupt(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("s3prl_compress.tasks.base.prepare.write_atomically", interrupt)
    with pytest.raises(KeyboardInterrupt):
        prepare_keywords(table, tmp_path / "out")
    assert set(tmp_path.iterdir()) == before


def test_demo_corpus_is_complete_and_says_that_it_is_generated(tmp_path: Path) -> None:
    corpus = open_corpus(demo_keywords(tmp_path / "demo"))
    corpus.check()
    assert corpus.generated
    assert json.loads((corpus.root / "corpus.json").read_text(encoding="utf-8"))["generated"]
    assert corpus.variant == "official"
    counts = Counter(item.label for item in corpus.items("test"))
    assert min(counts[label] for label in KS_CLASSES) >= 20
    assert min(Counter(item.label for item in corpus.items("train")).values()) >= 30
    assert min(Counter(item.label for item in corpus.items("dev")).values()) >= 10


def test_no_demo_voice_is_in_two_splits_and_the_folder_is_small() -> None:
    folder = Path(__file__).parents[2] / "recipes" / "demo_corpus" / "ks"
    with open(folder / "metadata.csv", newline="", encoding="utf-8") as file:
        pairs = {(row["speaker"], row["split"]) for row in csv.DictReader(file) if row["speaker"]}
    voices = [speaker for speaker, _ in pairs]
    assert len(voices) == len(set(voices)) >= 30
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) < 3_000_000


@pytest.mark.speech
@pytest.mark.parametrize(
    ("name", "variant", "sizes", "background"),
    [
        ("ks_arabic_sc", "official", {"train": 324, "dev": 72, "test": 128}, 2),
        ("ks_fsdd", "digits", {"train": 300, "dev": 30, "test": 120}, 0),
    ],
)
def test_real_speech(
    speech_data: Path,
    tmp_path: Path,
    name: str,
    variant: str,
    sizes: dict[str, int],
    background: int,
) -> None:
    corpus = open_corpus(prepare_keywords(speech_data / name / "metadata.csv", tmp_path / "out"))
    corpus.check()
    assert corpus.variant == variant
    assert corpus.record().sizes == sizes
    assert len(corpus.background()) == background


@pytest.mark.speech
@pytest.mark.s3prl
def test_s3prl_finds_the_splits_of_real_speech(speech_data: Path, tmp_path: Path) -> None:
    from s3prl_compress.s3prl_bridge.compat import apply_patches

    apply_patches()
    from s3prl.downstream.speech_commands.expert import split_dataset

    table = speech_data / "ks_arabic_sc" / "metadata.csv"
    corpus = open_corpus(prepare_keywords(table, tmp_path / "out"))
    with open(table, newline="", encoding="utf-8") as file:
        listed = Counter(
            (row["label"], row["split"]) for row in csv.DictReader(file) if row["speaker"]
        )
    for split, found in zip(("train", "valid"), split_dataset(corpus.train_root), strict=True):
        assert Counter(label for label, _ in found) == {
            label: count for (label, where), count in listed.items() if where == split
        }


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_samples_that_are_no_numbers_are_named_and_nothing_is_written(
    tmp_path: Path, rows: list[dict[str, Any]], value: float
) -> None:
    rows[3]["file"] = "audio/broken.wav"
    soundfile.write(tmp_path / rows[3]["file"], [0.1, value, 0.1], RATE, subtype="FLOAT")
    with pytest.raises(InputError, match=r"broken\.wav: holds samples that are NaN or infinite"):
        prepare_keywords(write_table(tmp_path, rows), tmp_path / "out")
    assert not (tmp_path / "out").exists()
