"""The model card of a checkpoint folder, from its config and from records only."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from ..common.errors import InputError
from ..common.files import write_atomically
from ..encoder import SpeechEncoder, cost, fingerprint, is_checkpoint, load
from ..encoder.provenance import MethodStep
from ..methods import available
from ..report.four_task import OFFICIAL_VARIANTS
from ..report.leaderboard import leaderboard
from ..report.rows import Row
from ..results.records import Record, TimeRecord, read_records
from ..results.versions import newest_versions
from .licenses import License, license_of
from .names import check_name

CARD_FILE = "README.md"

_RECOGNITION = "automatic-speech-recognition"
"""The hub's name of the task."""

_METRICS = {"WER": "wer", "CER": "cer", "PER": "per", "accuracy": "accuracy"}
"""The hub's names of metrics."""

_OFFICIAL_VARIANTS = {**OFFICIAL_VARIANTS, "pr": "librispeech", "ic": "fluent"}


def write_card(folder: Path, records: Path, *, repository: str, license: str | None = None) -> Path:
    """Write the card of a checkpoint folder into it, as `README.md`, and return its path.

    Args:
        folder: a checkpoint folder of an encoder.
        records: folder of the records of its scores and times.
        repository: the hub id under which it will be published.
        license: the hub's identifier; None: that of the base model.

    Raises:
        InputError: the folder is not a checkpoint, there are no records of it, or its licence is
            not known.
    """
    check_name(repository)
    if not is_checkpoint(folder):
        raise InputError(f"{folder}: not a checkpoint folder; give one that `compress` wrote")
    encoder = load(folder)
    found = [record for _, record in read_records(records)]
    own = fingerprint(encoder)
    if not any(record.upstream.checkpoint_sha256 == own for record in found):
        raise InputError(
            f"{records}: no record is of {folder}; make some with `s3prl-compress score {folder} "
            f"--output {records}`"
        )
    text = model_card(encoder, found, repository=repository, license=license)
    path = folder / CARD_FILE
    write_atomically(path, text)
    return path


def model_card(
    encoder: SpeechEncoder,
    records: Iterable[Record],
    *,
    repository: str,
    license: str | None = None,
) -> str:
    """Return the text of a model card, with its metadata.

    Scores on generated speech are left out. The metadata's results (`model-index`) are those with
    SUPERB's official settings only.

    Args:
        encoder: the model.
        records: of this model and others; those of its dense base are shown beside it.
        repository: see `write_card`.
        license: see `write_card`.

    Raises:
        InputError: its licence is not known.
    """
    records, left_out = newest_versions([*records])
    own = fingerprint(encoder)
    terms = license_of(encoder.provenance.base, license)
    rows = [row for row in leaderboard(records) if not row.generated_speech]
    mine = [row for row in rows if row.checkpoint_sha256 == own]
    dense = [row for row in rows if row.reference and row.checkpoint_sha256 != own]
    times = [
        record
        for record in records
        if isinstance(record, TimeRecord) and record.upstream.checkpoint_sha256 == own
    ]
    parts = [
        f"---\n{_metadata(encoder, mine, repository, terms)}\n---\n",
        f"# {repository.split('/')[-1]}\n",
        _summary(encoder, terms),
        _size(encoder, mine, dense),
        _scores(mine),
        f"{left_out}\n" if left_out else "",
        _speed(times),
        _history(encoder.provenance.steps),
        _use(encoder, repository),
        _limits(mine),
        _citation(encoder),
    ]
    return "\n".join(filter(None, parts))


def _metadata(encoder: SpeechEncoder, rows: Sequence[Row], repository: str, terms: License) -> str:
    from huggingface_hub import EvalResult, ModelCardData

    results = [
        EvalResult(
            task_type="audio-classification" if row.higher_is_better else _RECOGNITION,
            task_name=f"SUPERB {row.task}",
            dataset_type="superb",
            dataset_name=row.conditions.corpus,
            dataset_config=row.task,  # without it, the hub's library merges the tasks into one
            dataset_split="test",
            metric_type=_METRICS.get(row.metric.split(" ")[0], row.metric),
            metric_name=row.metric,
            metric_value=round(row.score, 3),
            metric_args={
                "standard_error": round(row.standard_error, 3),
                "engine": row.conditions.engine,
                "padding": row.conditions.padding,
                "recipe": row.conditions.recipe,
                "seeds": row.seed_count,
            },
        )
        for row in rows
        if row.conditions.recipe == "official"
        and row.conditions.variant == _OFFICIAL_VARIANTS.get(row.task)
    ]
    data = ModelCardData(
        base_model=encoder.provenance.hub_id,
        eval_results=results or None,
        library_name="s3prl_compress",
        license=terms.identifier,
        model_name=repository.split("/")[-1] if results else None,
        pipeline_tag="feature-extraction" if encoder.head is None else _RECOGNITION,
        tags=["speech", "s3prl", "compression", encoder.shape.family, *_methods(encoder)],
    )
    return str(data.to_yaml())


def _summary(encoder: SpeechEncoder, terms: License) -> str:
    history = encoder.provenance
    revision = f", revision `{history.base_revision}`" if history.base_revision else ""
    made = f"after {' and '.join(_methods(encoder))}" if history.steps else "as it is"
    kind = "speech encoder" if encoder.head is None else "speech recogniser (CTC)"
    lines = [
        f"A {kind}: `{history.base}`{revision}, {made} with s3prl_compress. All scores and "
        "speeds below are from records that this package wrote when it measured them.",
        f"Licence: {terms.identifier}. {terms.remark}".strip(),
    ]
    if history.random_weights:
        lines.append("**The weights are random: this model has learned nothing.**")
    return "\n\n".join(lines) + "\n"


def _size(encoder: SpeechEncoder, mine: Sequence[Row], dense: Sequence[Row]) -> str:
    counted = cost(encoder)
    columns = ["this model"]
    figures: list[list[float | None]] = [
        [counted.parameters, counted.nonzero_parameters, counted.macs_32, counted.bytes],
    ]
    for row in dense:
        if row.base in {own.base for own in mine} and row.parameters is not None:
            columns.append(f"`{row.upstream}`")
            figures.append([row.parameters, row.nonzero_parameters, row.macs_32, row.bytes])
            break
    names = ("parameters", "stored weights", "multiply-adds (32 utterances)", "weights on disk")
    units = ((1e6, "M"), (1e6, "M"), (1e9, "G"), (1e6, "MB"))
    lines = [f"| | {' | '.join(columns)} |", "|---|" + "---:|" * len(columns)]
    for place, (name, (unit, sign)) in enumerate(zip(names, units, strict=True)):
        cells = [f"{float(one[place] or 0) / unit:.2f} {sign}" for one in figures]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "## Size\n\n" + "\n".join(lines) + "\n"


def _scores(rows: Sequence[Row]) -> str:
    if not rows:
        return ""
    lines = [
        "| task | corpus | score | difference from dense, 95 % interval | settings |",
        "|---|---|---:|---:|---|",
    ]
    for row in rows:
        tested, conditions = row.significance, row.conditions
        difference = ""
        if tested.difference is not None:
            difference = f"{tested.difference:+.2f}"
            if tested.difference_low is not None and tested.difference_high is not None:
                difference += f", {tested.difference_low:+.2f} to {tested.difference_high:+.2f}"
            difference += f" ({tested.resolution})" if tested.resolution else ""
        seeds = f", {row.seed_count} seeds" if row.trained else ""
        settings = f"{conditions.recipe}, {conditions.engine}, {conditions.padding} padding{seeds}"
        score = f"{row.score:.2f} \N{PLUS-MINUS SIGN} {row.standard_error:.2f}"
        lines.append(
            f"| {row.task} | {conditions.corpus} | {row.metric}: {score} | {difference} | "
            f"{settings} |"
        )
    return (
        "## Scores\n\n" + "\n".join(lines) + "\n\nErrors are standard errors over seeds and test "
        "speakers. Only rows with the settings `official` may be compared with published SUPERB "
        "scores.\n"
    )


def _speed(times: Sequence[TimeRecord]) -> str:
    if not times:
        return ""
    lines = [
        "| machine | threads | batch | number format | RTFx | speed-up, 95 % interval | against | "
        "date |",
        "|---|---:|---:|---|---:|---:|---|---|",
    ]
    for record in times:
        where = record.environment
        overall = next(bucket for bucket in record.buckets if bucket.name == "all")
        gain, other = "", ""
        if overall.speedup is not None and record.against is not None:
            gain, other = f"{overall.speedup:.2f} x", f"`{record.against.name}`"
            if overall.interval is not None:
                gain += f", {overall.interval[0]:.2f} to {overall.interval[1]:.2f}"
        lines.append(
            f"| {where.machine}, {where.device} | {where.threads} | {overall.batch_size} | "
            f"{record.dtype} | {overall.rtfx:.3g} | {gain} | {other} | {where.date[:10]} |"
        )
    return (
        "## Speed\n\n" + "\n".join(lines) + "\n\nRTFx is seconds of audio per second of "
        "computing. Speed-ups are medians of paired ratios of one run.\n"
    )


def _history(steps: Sequence[MethodStep]) -> str:
    if not steps:
        return ""
    lines = [
        f"{number}. `{step.method}` (s3prl_compress {step.version}, {step.date[:10]}): "
        + ", ".join(f"{key} = {value}" for key, value in step.settings.items())
        for number, step in enumerate(steps, 1)
    ]
    return "## How it was made\n\n" + "\n".join(lines) + "\n"


def _use(encoder: SpeechEncoder, repository: str) -> str:
    auto = "AutoModel" if encoder.head is None else "AutoModelForCTC"
    return f"""## Use

With s3prl_compress installed:

```python
import torch
import s3prl_compress

waveforms = [torch.randn(16_000)]  # at 16 kHz
encoder = s3prl_compress.load("{repository}")
states, frames = encoder(waveforms)  # all hidden states [batch, frames, width], and their lengths
```

In s3prl:

```python
s3prl_compress.register()  # before any import of s3prl
from s3prl.nn import S3PRLUpstream

upstream = S3PRLUpstream("{repository}")
```

In transformers, after `import s3prl_compress`, or with `trust_remote_code=True`:

```python
from transformers import {auto}

model = {auto}.from_pretrained("{repository}")
```

SUPERB's recipes, from the command line; DIR holds the folders of both downloads of Speech Commands:

```text
s3prl-compress score {repository} --task ks --data DIR
```
"""


def _limits(rows: Sequence[Row]) -> str:
    limits = [
        'Where a difference is "not resolved", the test set is too small to show one: it does '
        "not mean that nothing was lost."
    ]
    official = [row for row in rows if row.conditions.recipe == "official"]
    if not official:
        limits.append("It has not been scored with SUPERB's official settings.")
    if any(row.approximate for row in rows):
        limits.append("Some scores are approximate: not all conditions of the engine held.")
    return "## Limits\n\n" + "\n".join(f"- {text}" for text in limits) + "\n"


def _citation(encoder: SpeechEncoder) -> str:
    known = available()
    references = {name: known[name].reference for name in _methods(encoder) if name in known}
    lines = [f"- `{name}`: {text}" for name, text in references.items() if text]
    lines.append(f"- the base model: `{encoder.provenance.base}`")
    return "## Citation\n\nPlease cite s3prl_compress, and:\n\n" + "\n".join(lines) + "\n"


def _methods(encoder: SpeechEncoder) -> list[str]:
    """Return the names of the methods in the history, each once."""
    return list(dict.fromkeys(step.method for step in encoder.provenance.steps))
