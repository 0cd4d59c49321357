"""`score --task ctc`: one cell of a checkpoint with its own CTC head. Nothing is trained.

So there is no recipe, no seed and no sweep, and the record's engine is `greedy`. It is a separate
task: its word errors are never compared with those of ASR on a frozen upstream.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from torch import nn

from ..audio import TranscribedAudio, open_transcribed
from ..common.errors import InputError
from ..common.files import locked
from ..common.precision import full_precision
from ..common.validation import pick_device
from ..encoder import SpeechEncoder, describe, load_unless_loaded, normalization_note
from ..encoder.adapter import UpstreamAdapter
from ..results import records
from ..results.records import ScoreRecord, Upstream
from ..statistics import find_metric
from ..tasks.base.card import read_card
from ..tasks.base.corpus import CARD_FILE
from ..tasks.base.engine import ENGINE_VERSIONS, WORK_FOLDER
from ..tasks.base.task import CTC_TASK
from .cell import finished_record, write_predictions
from .ctc import CTCScore, measure_ctc, needs_head
from .identity import ctc_identity, stem_of

DECODING = {"decoding": "greedy"}
"""The settings that decide a score beside checkpoint and speech."""

_NOTE = (
    "Word errors of the model's own CTC head, greedy, without a language model: not SUPERB's ASR, "
    "for which a new head is trained on the frozen upstream."
)


def score_own_head(
    source: str | Path | SpeechEncoder | UpstreamAdapter,
    *,
    data: str | Path,
    output: str | Path,
    device: str | None = None,
    name: str | None = None,
    force: bool = False,
    normalize: bool | None = None,
) -> ScoreRecord:
    """Recognise transcribed speech with a checkpoint's own CTC head, and write the record.

    A cell whose complete record lies in `output` already is not run again.

    Args:
        source: what `load` takes, or an encoder.
        data: a folder in LibriSpeech's layout, or a csv table with the columns `file` and `text`
            (or `transcript`); of one with splits, test is taken.
        output: folder of records.
        device: as torch names it; cuda where there is one, else the CPU.
        name: of the upstream in tables; by default the last part of `source`.
        force: run the cell even if its record is there.
        normalize: whether waveforms are normalised; overrides the checkpoint. Not for an encoder
            that is already loaded.

    Raises:
        InputError: there is no head, or the data are not usable.
    """
    device = pick_device(device)
    encoder = load_unless_loaded(source, normalize=normalize)
    given = "the encoder" if isinstance(source, nn.Module) else str(source)
    if isinstance(encoder, UpstreamAdapter):
        raise InputError(f"{encoder.upstream}: an upstream of s3prl's own has no CTC head")
    needs_head(encoder, given)
    speech = open_transcribed(data, "test", minimum_samples=0)
    _check_one_set(speech, data)
    described = encoder.provenance.base if isinstance(source, nn.Module) else given
    short = "encoder" if isinstance(source, nn.Module) else Path(given.rstrip("/")).name
    upstream = describe(encoder, name or short.removesuffix(".pt"), described)
    corpus = _corpus(speech, Path(data))
    identity = ctc_identity(upstream.checkpoint_sha256, corpus.fingerprint, DECODING)
    output = Path(output)
    stem = stem_of(upstream, (CTC_TASK.name, "greedy"), identity)
    if not force and (finished := finished_record(output, stem)) is not None:
        return finished
    lock = output / WORK_FOLDER / f"{stem}.lock"
    with locked(lock, f"scoring the same cell, {stem}"), full_precision():
        if not force and (finished := finished_record(output, stem)) is not None:
            return finished
        score = measure_ctc(encoder, speech, device)
        record = _record(score, upstream, corpus, stem, device, normalization_note(encoder))
        write_predictions(record, score.predictions, speech.speakers, output)
        records.write_record(record, output, stem)
    return record


def _record(
    score: CTCScore,
    upstream: Upstream,
    corpus: records.CorpusRecord,
    stem: str,
    device: str,
    normalization: str | None,
) -> ScoreRecord:
    random = "The upstream's base has random weights." if upstream.random_weights else ""
    generated = "The corpus is generated speech." if corpus.generated else ""
    short = (
        f"{score.too_short} of {len(score.predictions)} utterances are too short for the encoder: "
        "all their words count as errors."
        if score.too_short
        else ""
    )
    return ScoreRecord(
        upstream=upstream,
        task=CTC_TASK.name,
        task_version=CTC_TASK.version,
        variant=CTC_TASK.variants[0],
        engine="greedy",
        engine_version=ENGINE_VERSIONS["greedy"],
        padding="independent",  # utterances go through one at a time
        seed=None,
        recipe=records.NO_RECIPE,
        settings=DECODING,
        metric=find_metric(CTC_TASK.metric).label,
        higher_is_better=CTC_TASK.higher_is_better,
        score=score.word_error_rate,
        standard_error=score.standard_error,
        interval=score.interval,
        error_units=score.error_units,
        test_size=len(score.predictions),
        chance=None,
        other_metrics={"cer": score.character_error_rate},
        learning_rate=None,
        rates=(),
        dev_score=None,
        corpus=corpus,
        approximate=False,
        notes=tuple(filter(None, (_NOTE, random, generated, short, normalization))),
        predictions=f"{stem}.csv",
        seconds=score.seconds,
        environment=records.environment(device),
    )


def _check_one_set(speech: TranscribedAudio, data: str | Path) -> None:
    """Refuse test-clean and test-other together: nobody wants their common word error rate."""
    parts = {file.split("/")[0] for file in speech.audio.files}
    sets = sorted(part for part in parts if part.startswith("test-"))
    if len(sets) > 1:
        raise InputError(
            f"{data}: holds {' and '.join(sets)}, which are scored apart; give {data}/{sets[0]}"
        )


def _corpus(speech: TranscribedAudio, data: Path) -> records.CorpusRecord:
    """Describe the speech, by the card of `prepare` where there is one."""
    root = speech.audio.root
    digest = hashlib.sha256()
    rows = zip(speech.audio.files, speech.audio.contents(), speech.texts, strict=True)
    for file, content, text in rows:
        digest.update(f"{file}\0{content}\0{text}\n".encode())
    card = next((place for place in (root, root.parent) if (place / CARD_FILE).is_file()), None)
    table = data.is_file() and data.stem != "metadata"
    name = data.stem if table else root.resolve().name
    generated = False
    if card is not None:
        found = read_card(card, "asr")
        generated = found.generated
        name = found.name if card == root else f"{found.name}, {name}"
    return records.CorpusRecord(
        name=name,
        fingerprint=digest.hexdigest(),
        sizes={"test": len(speech.texts)},
        generated=generated,
    )
