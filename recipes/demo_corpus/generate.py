"""Generate parts of the demo corpus again: espeak-ng's speech for each of the four tasks.

Needs the Debian package espeak-ng; everything else is a dependency of the project. Run it in the
repository as `python -m recipes.demo_corpus.generate ks sid er asr`; it replaces `<task>/audio/`
and `<task>/metadata.csv` beside it.
"""

from __future__ import annotations

import argparse
import csv
import shutil
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from s3prl_compress.recipes.demo_corpus import emotions, keywords, speakers, transcripts
from s3prl_compress.recipes.demo_corpus.sound import COMPRESSION, SAMPLING_RATE, Samples
from tqdm import tqdm

Row = dict[str, str]


@dataclass(frozen=True)
class Part:
    """One task's corpus."""

    seed: int
    rows: Callable[[], Iterator[Row]]
    """The table's rows, one per clip."""
    clip: Callable[[Row, np.random.Generator], Samples]
    """Makes the clip of a row: samples at 16 kHz."""


PARTS = {
    "ks": Part(20240, keywords.rows, keywords.clip),
    "sid": Part(20241, speakers.rows, speakers.clip),
    "er": Part(20242, emotions.rows, emotions.clip),
    "asr": Part(20243, transcripts.rows, transcripts.clip),
}


def main() -> None:
    """Write the parts that are named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="+", choices=list(PARTS))
    parser.add_argument("--output", type=Path, default=Path(__file__).parent)
    arguments = parser.parse_args()
    if shutil.which("espeak-ng") is None:
        raise SystemExit("espeak-ng is not installed; on Debian: apt-get install espeak-ng")
    for name in arguments.parts:
        write(name, PARTS[name], arguments.output / name)


def write(name: str, part: Part, folder: Path) -> None:
    """Write one part into `folder`; every clip follows from the seed and its file's name."""
    audio = folder / "audio"
    if audio.exists():
        shutil.rmtree(audio)
    audio.mkdir(parents=True)
    rows = list(part.rows())
    for row in tqdm(rows, desc=f"demo corpus: {name}", unit="clip"):
        generator = np.random.default_rng([part.seed, zlib.crc32(row["file"].encode())])
        write_opus(folder / row["file"], part.clip(row, generator))
    with open(folder / "metadata.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def write_opus(path: Path, samples: Samples) -> None:
    """Write one file of mono Ogg Opus at 16 kHz."""
    soundfile.write(
        str(path),
        np.clip(samples, -0.99, 0.99),
        SAMPLING_RATE,
        format="OGG",
        subtype="OPUS",
        compression_level=COMPRESSION,
    )


if __name__ == "__main__":
    main()
