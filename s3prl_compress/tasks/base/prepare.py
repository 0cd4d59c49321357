"""Writing recordings in the layouts that s3prl reads: the part common to all tasks."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path

import soundfile
from tqdm import tqdm

from ...audio.clips import SAMPLING_RATE
from ...audio.reading import read_audio, to_int16
from ...common.errors import InputError
from ...common.files import folder_atomically, write_atomically
from ...common.validation import check_folder_output
from .card import CorpusCard, read_card
from .corpus import CARD_FILE

_REMEDY = "give another --output, or remove it"


@dataclass(frozen=True)
class Layout:
    """Content of a prepared corpus, below its folder."""

    task: str
    variant: str
    classes: tuple[str, ...]
    recordings: list[tuple[Path, str]]
    """Sources in any format, and where each goes as 16-bit mono wav at 16 kHz."""
    texts: Mapping[str, str] = field(default_factory=dict)
    """Further files: where each goes, and its content."""
    links: Mapping[str, Path] = field(default_factory=dict)
    """Folders that are linked, not copied: the link's place, and the folder."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """See `CorpusCard.labels`."""


def prepare_layout(
    layout: Layout,
    output: Path,
    *,
    name: str,
    generated: bool,
    table: Path,
    sources: list[Path],
) -> Path:
    """Write a corpus in its layout, with `corpus.json`.

    `output` appears whole or not at all. One that was made from the same `table` and the same
    `sources` (files whose contents decide what comes out) is left as it is; any other content
    there is an `InputError`, and so is what the system says about writing: a full disk, or a
    speaker whose name is too long for a folder.
    """
    source = {"table": table.name, "sha256": source_hash(table, sources)}
    if (output / CARD_FILE).is_file():
        if read_card(output, layout.task).source == source:
            return output
        raise InputError(
            f"{output}: holds a corpus prepared from another table, or from other recordings; "
            f"{_REMEDY}"
        )
    card = CorpusCard.model_validate(
        {
            "task": layout.task,
            "variant": layout.variant,
            "name": name,
            "generated": generated,
            "classes": layout.classes,
            "source": source,
            "labels": dict(layout.labels),
        }
    )
    try:
        with folder_atomically(output) as folder:
            _write(layout, folder, name)
            write_atomically(folder / CARD_FILE, card.model_dump_json(indent=2) + "\n")
    except OSError as error:
        raise InputError(
            f"{output}: cannot be written ({error.strerror}: {error.filename})"
        ) from error
    return output


def _write(layout: Layout, folder: Path, name: str) -> None:
    for path, target in layout.links.items():
        (folder / path).symlink_to(target.resolve(), target_is_directory=True)
    for recording, relative in tqdm(layout.recordings, desc=f"preparing {name}", unit="file"):
        convert(recording, folder / relative)
    for relative, text in layout.texts.items():
        (folder / relative).parent.mkdir(parents=True, exist_ok=True)
        (folder / relative).write_text(text, encoding="utf-8")


def check_output(output: Path) -> None:
    """Accept a new place, an empty folder or a prepared corpus.

    Raises:
        InputError: something else is there, or the place cannot be written.
    """
    free = not output.exists() or (output.is_dir() and not any(output.iterdir()))
    if not free and not (output / CARD_FILE).is_file():
        raise InputError(f"{output}: exists and is not a prepared corpus; {_REMEDY}")
    if free:
        check_folder_output(output)


@contextmanager
def packaged_table(task: str) -> Iterator[Path]:
    """Yield the table of the packaged corpus of generated speech."""
    packaged = resources.files("s3prl_compress.recipes") / "demo_corpus" / task
    with resources.as_file(packaged) as folder:
        yield folder / "metadata.csv"


def source_hash(table: Path, sources: Sequence[Path]) -> str:
    """Hash the sources of a corpus: the table's content (a folder has none), then files."""
    digest = hashlib.sha256(table.read_bytes() if table.is_file() else b"")
    for path in sources:
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def convert(source: Path, target: Path) -> None:
    """Write a recording of any format, rate and channels as 16-bit mono wav at 16 kHz."""
    integers = to_int16(read_audio(source))
    target.parent.mkdir(parents=True, exist_ok=True)
    # Not to the file: libsndfile does not say what is wrong, such as a full disk.
    wav = io.BytesIO()
    soundfile.write(wav, integers, SAMPLING_RATE, format="WAV", subtype="PCM_16")
    target.write_bytes(wav.getvalue())
