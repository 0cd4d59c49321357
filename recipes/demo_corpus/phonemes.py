"""Write the phonemes of the demo corpus's sentences: espeak-ng's, for phoneme recognition.

Needs the Debian package espeak-ng. Run it in the repository as
`python -m recipes.demo_corpus.phonemes`; it replaces `asr/phonemes.csv` beside it.
"""

from __future__ import annotations

import csv
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

ACCENT = "en-us"
"""Whose phonemes they are. The clips have six accents. As in LibriSpeech, whose phonemes come from
a dictionary, a label says how a word is usually pronounced, not how this voice said it."""
_SEPARATOR = "_"
_STRESS = re.compile("[ˈˌ]")


def main() -> None:
    """Write the table beside that of the sentences."""
    folder = Path(__file__).parent / "asr"
    rows = list(phoneme_rows(folder / "metadata.csv"))
    with open(folder / "phonemes.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def phoneme_rows(table: Path) -> Iterator[dict[str, str]]:
    """Yield the rows of the table of sentences, with phonemes in place of words."""
    with open(table, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for row, phonemes in zip(rows, spoken([row["text"] for row in rows]), strict=True):
        columns = {name: row[name] for name in ("file", "speaker", "gender", "split")}
        yield {**columns, "phonemes": phonemes}


def spoken(sentences: list[str]) -> list[str]:
    """Return the phonemes of each sentence in IPA, separated by spaces, without stress marks."""
    command = ["espeak-ng", "-q", "-v", ACCENT, "--ipa", f"--sep={_SEPARATOR}"]
    result = subprocess.run(
        command, input="\n".join(sentences).lower(), check=True, capture_output=True, text=True
    )
    lines = result.stdout.strip().splitlines()
    return [
        " ".join(re.split(rf"[\s{_SEPARATOR}]+", _STRESS.sub("", line.strip()))) for line in lines
    ]


if __name__ == "__main__":
    main()
