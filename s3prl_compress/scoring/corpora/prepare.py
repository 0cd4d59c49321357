"""Bringing recordings into Speech Commands' own layout, which is what both engines read."""

from __future__ import annotations

import hashlib
import itertools
import math
import re
from collections import Counter
from importlib import resources
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray
from scipy.signal import resample_poly
from tqdm import tqdm

from ...errors import InputError
from ...files import folder_atomically, write_atomically
from .audio import SAMPLING_RATE
from .base import CARD_FILE, Split
from .keywords import (
    BACKGROUND_FOLDER,
    CLASSES_OF_VARIANT,
    TEST_FOLDER,
    TRAIN_FOLDER,
    CorpusCard,
    read_card,
    split_of,
)
from .table import Row, read_table

DEMO_NAME = "generated demo keywords"
_REMEDY = "give another --output, or remove it"


def prepare_keywords(metadata: Path, output: Path, *, name: str | None = None) -> Path:
    """Write a keyword-spotting corpus from a table with the columns file, label, speaker, split.

    The result is 16-bit mono wav at 16 kHz in Speech Commands' folders, with speaker ids of
    which the SHA-1 rule gives the listed split, and a `corpus.json`. The labels decide the
    variant: SUPERB's twelve classes, or the ten digits without silence and unknown. `name` is
    what reports call the corpus; without it the name of the table's folder.

    `output` appears whole or not at all. One that was prepared from the same table and the same
    recordings is left as it is; any other content there is an `InputError`, as is every fault of
    the table.
    """
    metadata, output = Path(metadata), Path(output)
    return _prepare(metadata, output, name or metadata.resolve().parent.name, generated=False)


def demo_keywords(output: Path) -> Path:
    """Unpack the packaged corpus of generated speech into Speech Commands' layout at `output`."""
    packaged = resources.files("s3prl_compress.recipes") / "demo_corpus" / "ks"
    with resources.as_file(packaged) as folder:
        return _prepare(folder / "metadata.csv", Path(output), DEMO_NAME, generated=True)


def speaker_id(speaker: str, split: Split) -> str:
    """Return eight hexadecimal digits for a speaker, such that the SHA-1 rule gives `split`.

    A speaker who occurs in several splits gets one id for each of them.
    """
    for attempt in itertools.count():
        text = f"{split}\0{speaker}\0{attempt}".encode("utf-8", "surrogatepass")
        candidate = hashlib.sha256(text).hexdigest()[:8]
        if split_of(candidate) == split:
            return candidate
    raise AssertionError("unreachable: one candidate in ten falls into each split")


def _prepare(metadata: Path, output: Path, name: str, *, generated: bool) -> Path:
    if not metadata.is_file():
        raise InputError(f"{metadata}: no such table; give a csv file with one recording a line")
    _refuse_other_content(output)
    rows, variant = read_table(metadata)
    source = {"table": metadata.name, "sha256": _source_hash(metadata, rows)}
    if (output / CARD_FILE).is_file():
        if read_card(output).source == source:
            return output
        raise InputError(
            f"{output}: holds a corpus prepared from another table, or from other recordings; "
            f"{_REMEDY}"
        )
    card = CorpusCard(
        variant=variant,
        name=name,
        generated=generated,
        classes=CLASSES_OF_VARIANT[variant],
        source=source,
    )
    with folder_atomically(output) as folder:
        for row, relative in tqdm(_targets(rows), desc=f"preparing {name}", unit="file"):
            _convert(row.path, folder / relative)
        write_atomically(folder / CARD_FILE, card.model_dump_json(indent=2) + "\n")
    return output


def _refuse_other_content(output: Path) -> None:
    """Let pass what may be filled or looked into: nothing, an empty folder, a prepared corpus."""
    free = not output.exists() or (output.is_dir() and not any(output.iterdir()))
    if not free and not (output / CARD_FILE).is_file():
        raise InputError(f"{output}: exists and is no prepared corpus; {_REMEDY}")


def _source_hash(metadata: Path, rows: list[Row]) -> str:
    """Hash the table and the contents of its recordings: what a corpus was made from."""
    digest = hashlib.sha256(metadata.read_bytes())
    for row in rows:
        digest.update(hashlib.sha256(row.path.read_bytes()).digest())
    return digest.hexdigest()


def _targets(rows: list[Row]) -> list[tuple[Row, str]]:
    """Say where each row goes below the corpus folder; the same table gives the same names."""
    ids = _speaker_ids(rows)
    takes: Counter[str] = Counter()
    targets = []
    for row in rows:
        if row.is_background:
            stem = re.sub(r"[^A-Za-z0-9_-]+", "_", Path(row.file).stem)
            stem = f"{TRAIN_FOLDER}/{BACKGROUND_FOLDER}/{stem}"
            number = takes[stem]
            takes[stem] += 1
            targets.append((row, f"{stem}~{number}.wav" if number else f"{stem}.wav"))
            continue
        root = TEST_FOLDER if row.split == "test" else TRAIN_FOLDER
        stem = f"{root}/{row.label}/{ids[row.speaker, row.split]}_nohash_"
        targets.append((row, f"{stem}{takes[stem]}.wav"))
        takes[stem] += 1
    return targets


def _speaker_ids(rows: list[Row]) -> dict[tuple[str, Split], str]:
    ids: dict[tuple[str, Split], str] = {}
    taken: set[str] = set()
    for speaker, split in sorted({(row.speaker, row.split) for row in rows}):
        # Eight digits hold some 4e9 ids, so that two speakers may still meet in a large corpus.
        name = speaker
        while (identity := speaker_id(name, split)) in taken:
            name += "\0"
        taken.add(identity)
        ids[speaker, split] = identity
    return ids


def _convert(source: Path, target: Path) -> None:
    try:
        samples, rate = soundfile.read(str(source), dtype="float64", always_2d=True)
    except (OSError, RuntimeError) as error:
        raise InputError(f"{source}: cannot be decoded ({error}); nothing was written") from error
    mono = _resample(samples.mean(axis=1), rate)
    # Scaled here, by 2 ** 15: libsndfile's own conversion uses 2 ** 15 - 1 on the way out only,
    # and 16-bit sources would not come through unchanged.
    integers = np.clip(np.rint(mono * 32768), -32768, 32767).astype(np.int16)
    target.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(str(target), integers, SAMPLING_RATE, format="WAV", subtype="PCM_16")


def _resample(samples: NDArray[np.float64], rate: int) -> NDArray[np.float64]:
    """Bring [samples] at `rate` to 16 kHz with scipy's polyphase filter."""
    if rate == SAMPLING_RATE:
        return samples
    divisor = math.gcd(rate, SAMPLING_RATE)
    return resample_poly(samples, SAMPLING_RATE // divisor, rate // divisor)
