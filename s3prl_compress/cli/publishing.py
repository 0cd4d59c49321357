"""Commands that publish a checkpoint folder: `card` and `push`.

Signatures are the options and docstrings the help. Heavy imports stand inside the functions, so
that `--help` is quick.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..common.command_result import CommandResult


def card(folder: str, *, records: str, name: str, license: str | None = None) -> CommandResult:
    """Write a model card for the Hugging Face hub, from records only.

    The card has sizes, scores with their errors, speeds with the machine, the history, and how to
    load the model. Scores on generated speech are left out, and only those with SUPERB's official
    settings go into the metadata that the hub shows.

    Args:
        folder: checkpoint folder; the card becomes its README.md
        records: folder of the records that `score`, `time` and `run` wrote; those of the dense
            model belong there too
        name: hub id under which the folder will be published, OWNER/NAME
        license: the hub's identifier of a licence, such as apache-2.0; by default that of the base
            model
    """
    from ..publishing import write_card

    path = write_card(Path(folder), Path(records), repository=name, license=license)
    return CommandResult(
        {"card": str(path)},
        f"card: {path}",
        (f"next: s3prl-compress push {folder} {name} --dry-run DIR",),
    )


def push(
    folder: str, name: str, *, public: bool = False, dry_run: str | None = None
) -> CommandResult:
    """Upload a checkpoint folder with its model card to the Hugging Face hub.

    Log in before, by `hf auth login`. Only the checkpoint's own files are uploaded.

    Args:
        folder: checkpoint folder with a card, see `card`
        name: hub id, OWNER/NAME; a model that does not exist yet is created
        public: make a new model public; by default it is private
        dry_run: upload nothing, and write what would be uploaded into this new folder
    """
    from .. import publishing

    publishing.check_name(name)
    files, others = publishing.files_to_push(Path(folder))
    notes = (f"left out: {', '.join(others)}",) if others else ()
    data: dict[str, Any] = {"files": [path.name for path in files], "left_out": others}
    if dry_run is not None:
        publishing.copy_files(files, Path(dry_run))
        text = f"nothing was uploaded; {len(files)} files would be: {dry_run}"
        return CommandResult(data | {"output": dry_run}, text, notes)
    done = publishing.push(files, name, public=public)
    data |= {"address": done.address, "revision": done.revision}
    text = f"uploaded: {done.address}, revision {done.revision}"
    load = f's3prl_compress.load("{name}", revision="{done.revision}")'
    return CommandResult(data, text, (*notes, f"next: {load}"))
