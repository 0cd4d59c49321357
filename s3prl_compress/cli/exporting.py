"""`export`: an encoder in another form on disk."""

from __future__ import annotations

from typing import Literal

from ..common.command_result import CommandResult
from ..common.validation import check_folder_output
from ..encoder.checkpoint import check_checkpoint_output


def export(
    model: str,
    *,
    format: Literal["transformers", "checkpoint"],
    output: str,
    dense: bool = False,
    dtype: Literal["float32", "float16"] = "float32",
) -> CommandResult:
    """Write an encoder as a folder of transformers, or as a checkpoint folder of ours.

    Args:
        model: a folder of ours, a transformers folder, an s3prl .pt, a hub id, or hubert_demo
        format: transformers (config.json, model.safetensors, preprocessor_config.json), or
            checkpoint, which any encoder has
        output: the folder; an earlier one of the same form is replaced
        dense: for transformers: write low-rank, shared and sparse linears as dense ones, and
            zeros in the place of pruned heads and FFN units
        dtype: of the weights on disk
    """
    folder = (check_checkpoint_output if format == "checkpoint" else check_folder_output)(output)
    import torch

    from ..encoder import load, save
    from ..encoder.exporting import check_export_output, export_notes, export_transformers

    stored = {"float32": torch.float32, "float16": torch.float16}[dtype]
    notes: tuple[str, ...] = ()
    if format == "transformers":
        check_export_output(folder)
        encoder = load(model)
        export_transformers(encoder, folder, dense=dense, dtype=stored)
        notes = export_notes(encoder)
        kind = "AutoModel" if encoder.head is None else "AutoModelForCTC"
        hint = f"in transformers: {kind}.from_pretrained({str(folder)!r})"
    else:
        save(load(model), folder, dtype=stored)
        hint = f"next: s3prl-compress inspect {output}"
    size = sum(path.stat().st_size for path in folder.iterdir())
    figures = {
        "output": output,
        "format": format,
        "dtype": dtype,
        "bytes": size,
        "notes": list(notes),
    }
    text = f"{model} as {format}, {dtype}, {size:,} bytes: {output}"
    return CommandResult(figures, text, (*(f"note: {note}" for note in notes), hint))
