"""IEMOCAP as distributed, made ready for s3prl by writing its lists of labels again.

s3prl's published lists cannot be redistributed. These hold the same utterances with the same
labels; only their order differs, which was that of a file system, and with it the fifth of the
training sessions that is set aside as dev.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from tqdm import tqdm

from ...audio.clips import SAMPLING_RATE, check_audio
from ...common.errors import InputError
from ...common.faults import Faults
from ..base.prepare import Layout, check_output, prepare_layout
from .corpus import EMOTIONS, FOLDS, label_texts

_NAMES = {"neu": "neu", "hap": "hap", "exc": "hap", "ang": "ang", "sad": "sad"}
"""From the annotators' labels to SUPERB's four classes; all others are left out."""
# One line per utterance: [start - end] <tab> name <tab> label <tab> [valence, ...]
_LINE = re.compile(r"\[[^\]]*\]\s+(\S+)\s+(\S+)\s+\[.*")


def is_iemocap(folder: Path) -> bool:
    """Tell whether a folder looks like IEMOCAP as distributed."""
    return folder.is_dir() and any((folder / f"Session{fold}").is_dir() for fold in FOLDS)


def prepare_iemocap(source: Path, output: Path) -> Path:
    """Write s3prl's lists of labels for IEMOCAP, and links to its recordings.

    `source` holds `Session{1..5}/sentences/wav/<dialog>/<utterance>.wav` and
    `Session{1..5}/dialog/EmoEvaluation/<dialog>.txt`. As in s3prl's preprocessing the four classes
    are neutral, happy with excited, angry and sad, and utterances of other labels are left out.
    Dialogs come in the order of their names. Recordings are not copied: `output` links to them.

    Raises:
        InputError: one line with all that is missing or unreadable, or `output` is something else.
    """
    check_output(output)
    faults = Faults()
    sessions = {}
    for fold in FOLDS:
        sessions[fold] = list(_session(source, fold, faults))
        if not sessions[fold]:
            faults.add("session without a labelled utterance", f"Session{fold}")
    entries = [entry for fold in FOLDS for entry in sessions[fold]]
    recordings = [source / entry["path"] for entry in entries]
    for path in tqdm(recordings, desc="checking the recordings", delay=2, leave=False):
        name = path.relative_to(source).as_posix()
        check_audio(path, name, faults, shortest=1, rate=SAMPLING_RATE)
    faults.raise_if_any(str(source), "nothing was written; is this the whole of IEMOCAP?")
    texts = label_texts(sessions)
    layout = Layout(
        "er",
        "iemocap",
        EMOTIONS,
        [],
        texts=texts,
        links={f"Session{fold}": source / f"Session{fold}" for fold in FOLDS},
    )
    evaluations = [path for fold in FOLDS for path in _evaluations(source, fold)]
    return prepare_layout(
        layout,
        output,
        name="IEMOCAP",
        generated=False,
        table=source,
        sources=[*evaluations, *recordings],
    )


def _session(source: Path, fold: int, faults: Faults) -> Iterator[dict[str, str]]:
    """Yield the entries of a session, dialog by dialog, in the order of the lines."""
    audio = (source / f"Session{fold}" / "sentences" / "wav").glob("*/*.wav")
    places = {path.stem: path.relative_to(source).as_posix() for path in sorted(audio)}
    for path in _evaluations(source, fold):
        for name, label in read_evaluation(path):
            if label not in _NAMES:
                continue
            if name not in places:
                faults.add("missing file", f"{name}.wav in Session{fold}/sentences/wav")
                continue
            speaker = name.split("_")[0]
            yield {"path": places[name], "label": _NAMES[label], "speaker": speaker}


def _evaluations(source: Path, fold: int) -> list[Path]:
    folder = source / f"Session{fold}" / "dialog" / "EmoEvaluation"
    # Some copies of the corpus hold macOS metadata files, whose names begin with "._".
    return sorted(path for path in folder.glob("*.txt") if not path.name.startswith("."))


def read_evaluation(path: Path) -> list[tuple[str, str]]:
    """Read a dialog's evaluation: (utterance, label) as the annotators agreed, in file order."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    matches = (_LINE.fullmatch(line) for line in lines if line.startswith("["))
    return [(match[1], match[2]) for match in matches if match]
