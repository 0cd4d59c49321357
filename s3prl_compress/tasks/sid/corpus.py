"""A speaker-identification corpus on disk, read exactly as s3prl's `voxceleb1` downstream does."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ...audio.clips import SAMPLING_RATE, check_audio
from ...common.errors import InputError
from ...common.faults import Faults
from ..base.card import read_card
from ..base.corpus import CARD_FILE, SPLITS, Corpus, Item, Split, check_classes_differ, progress

AUDIO_FOLDER = "voxceleb1"
LISTS = ("iden_split.txt", "veri_test_class.txt")
"""Names of the list: VoxCeleb's own, and that under which s3prl ships the same list."""
FIRST_SPEAKER = 10001
"""s3prl takes the number behind `id` less this one for the index of the class."""
VOXCELEB1_SPEAKERS = 1251
SPLIT_NUMBERS: dict[Split, str] = {"train": "1", "dev": "2", "test": "3"}

_LINE = re.compile(r"\s*([123])\s+(id\d{5}/[^/\s]+/[^/\s]+\.wav)\s*")


@dataclass(frozen=True)
class SpeakerCorpus(Corpus):
    """Folders and speakers of a speaker corpus. See `open_speakers`."""

    audio_root: Path
    """Recordings are `<audio_root>/<part>/wav/idXXXXX/<video>/<n>.wav`, with any names of parts."""
    split_file: Path
    """Lines of `1|2|3 idXXXXX/<video>/<n>.wav`: train, dev, test."""

    def items(self, split: Split, fold: int = 0) -> list[Item]:
        """List the utterances of a split in the order of the list, which is s3prl's.

        Raises:
            InputError: the list cannot be read, or has lines that are none.
        """
        listed, faults = self._listed
        faults.raise_if_any(str(self.split_file), "correct the list, or prepare the corpus again")
        return listed[split]

    def check(self) -> None:
        """Raise one `InputError` that lists every fault; see `Corpus.check`."""
        listed, listing = self._listed
        faults = Faults()
        faults.extend(listing)
        _check_speakers(self, listed, faults)
        items = [item for split in SPLITS for item in listed[split]]
        for item in progress(items, "checking the corpus"):
            if not item.path.is_file():
                faults.add("missing file", self.utterance_name(item))
                continue
            check_audio(item.path, item.relative, faults, shortest=1, rate=SAMPLING_RATE)
        faults.raise_if_any(
            str(self.root), "fix or remove these, or write the corpus with `s3prl-compress prepare`"
        )

    def utterance_name(self, item: Item) -> str:
        """Return the name of an utterance in predictions: as the list gives it."""
        return "/".join(item.path.parts[-3:])

    def used_files(self) -> Iterable[Path]:
        """Yield every file that decides a score, the list included."""
        yield from super().used_files()
        yield self.split_file

    @cached_property
    def _listed(self) -> tuple[dict[Split, list[Item]], Faults]:
        """The list's utterances by split, and the faults of its lines."""
        faults = Faults()
        listed: dict[Split, list[Item]] = {split: [] for split in SPLITS}
        split_of = {number: split for split, number in SPLIT_NUMBERS.items()}
        folders = _speaker_folders(self.audio_root)
        seen = set()
        for number, line in enumerate(read_list(self.split_file), start=1):
            match = _LINE.fullmatch(line)
            if match is None:
                faults.add("line that is no `1|2|3 idXXXXX/<video>/<n>.wav`", f"line {number}")
                continue
            name = match[2]
            if name in seen:
                faults.add("file listed twice", name)
            seen.add(name)
            speaker, _, rest = name.partition("/")
            path = _locate(folders.get(speaker, [self.audio_root / "wav" / speaker]), rest)
            listed[split_of[match[1]]].append(Item(path, speaker, self.relative(path), speaker))
        return listed, faults


def open_speakers(root: Path) -> SpeakerCorpus:
    """Find the parts of a corpus folder; `check` says whether they can be used.

    A folder that `prepare` wrote has a `corpus.json`. Without one, it is VoxCeleb1 as downloaded:
    the list of its identification split beside `dev/wav` and `test/wav`, or beside a folder
    `voxceleb1` that holds these two.
    """
    split_file = next((root / name for name in LISTS if (root / name).is_file()), None)
    audio_root = root / AUDIO_FOLDER if (root / AUDIO_FOLDER).is_dir() else root
    if (root / CARD_FILE).is_file():
        card = read_card(root, "sid")
        return SpeakerCorpus(
            root=root,
            audio_root=audio_root,
            split_file=split_file or root / LISTS[0],
            variant=card.variant,
            classes=card.classes,
            name=card.name,
            generated=card.generated,
        )
    if split_file is None:
        raise InputError(
            f"{root}: no speaker corpus: neither {CARD_FILE} (written by `prepare sid`) nor "
            f"VoxCeleb1's {' or '.join(LISTS)}"
        )
    matches = [_LINE.fullmatch(line) for line in read_list(split_file)]
    speakers = tuple(sorted({match[2].partition("/")[0] for match in matches if match}))
    official = speakers == speaker_ids(VOXCELEB1_SPEAKERS)
    return SpeakerCorpus(
        root=root,
        audio_root=audio_root,
        split_file=split_file,
        variant="voxceleb1" if official else "speakers",
        classes=speakers,
        name="VoxCeleb1" if official else root.resolve().name,
        generated=False,
    )


def speaker_ids(count: int) -> tuple[str, ...]:
    """Return VoxCeleb1's names of the first `count` speakers: id10001, id10002, ..."""
    return tuple(f"id{FIRST_SPEAKER + index}" for index in range(count))


def read_list(path: Path) -> list[str]:
    """Return the lines of a list; one that cannot be read is an `InputError`."""
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not a text file"
        raise InputError(f"{path}: cannot read the list of the splits ({reason})") from error


def _speaker_folders(audio_root: Path) -> dict[str, list[Path]]:
    """Find the folders of each speaker in one pass.

    s3prl looks for every file by a pattern over the whole tree: hours on 150,000 files.
    """
    folders: dict[str, list[Path]] = {}
    for path in sorted(audio_root.glob("*/wav/id*")):
        folders.setdefault(path.name, []).append(path)
    return folders


def _locate(folders: list[Path], rest: str) -> Path:
    """Return where a recording lies; a speaker may have a folder in more than one part."""
    if len(folders) > 1:
        for folder in folders:
            if (folder / rest).is_file():
                return folder / rest
    return folders[0] / rest


def _check_speakers(corpus: SpeakerCorpus, listed: dict[Split, list[Item]], faults: Faults) -> None:
    if corpus.classes != speaker_ids(len(corpus.classes)):
        # s3prl's index of a class is its number: a gap would be a class that nobody has.
        faults.add(
            f"speakers that are not id{FIRST_SPEAKER} and on without a gap",
            f"{len(corpus.classes)} speakers up to {max(corpus.classes, default='none')}",
        )
    present = {split: {item.label for item in items} for split, items in listed.items()}
    for split in SPLITS:
        if not present[split]:
            faults.add("split without a clip", split)
        if split != "dev":
            check_classes_differ(present[split], split, faults)
        for name in sorted(present[split] - set(corpus.classes)):
            faults.add("speaker that does not belong", f"{name} in {split}")
    for name in corpus.classes:
        if name not in present["train"]:
            faults.add("speaker without a clip", f"{name} in train")
