"""The command `ngram`: a language model from the transcripts of a corpus."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from ..common.command_result import CommandResult
from ..common.errors import InputError
from ..common.validation import check_folder_output


def ngram(
    *,
    data: str,
    output: str,
    split: Literal["train", "dev"] = "train",
    order: int = 4,
    unit: Literal["words", "characters"] = "words",
) -> CommandResult:
    """Estimate an n-gram language model from transcripts, for `score --task ctc --lm`.

    The smoothing is interpolated modified Kneser-Ney. Text is in upper case. If the source has a
    dev split, the perplexity on it is printed.

    Args:
        data: transcribed speech: a folder in LibriSpeech's layout, or a csv table with the columns
            file and text (or transcript); the recordings are not decoded
        output: ARPA file
        split: split whose transcripts are used; without effect if the source has no splits
        order: longest n-gram, in words or characters
        unit: words, or characters for decoding without a lexicon
    """
    path = Path(output)
    if path.is_dir():
        raise InputError(f"{output}: a folder; give the name of a file, such as lm.arpa")
    check_folder_output(path.parent)
    from ..audio import open_transcribed
    from ..tasks.ctc.ngram import estimate_ngrams, sentences_of

    speech = open_transcribed(data, split, minimum_samples=0)
    model = estimate_ngrams(sentences_of(speech.texts, unit), order)
    counts = [len(grams) for grams in model.probabilities]
    facts: dict[str, Any] = {
        "output": output,
        "unit": unit,
        "order": order,
        "sentences": len(speech.texts),
        "vocabulary": len(model.vocabulary),
        "ngrams": counts,
        "discounts": [list(taken) for taken in model.discounts],
        "fallback_discounts": list(model.fallback),
    }
    lines = [
        f"{order}-gram of {unit} from {len(speech.texts)} transcripts: "
        + ", ".join(f"{count:,} {n}-grams" for n, count in enumerate(counts, start=1))
    ]
    if model.fallback:
        listed = ", ".join(map(str, model.fallback))
        lines.append(
            f"note: too few counts to estimate the discounts of order {listed}; they are 0.5, 1 "
            "and 1.5"
        )
    held_out = None if split == "dev" else _dev_texts(data, speech.texts)
    if held_out is not None:
        perplexity, unknown = model.perplexity(sentences_of(held_out, unit))
        facts |= {"dev_perplexity": perplexity, "dev_unknown": unknown}
        lines.append(
            f"dev: perplexity {perplexity:.1f}, {100 * unknown:.1f} % of the {unit} unknown"
        )
    everything = open_transcribed(data, minimum_samples=0).texts == speech.texts
    if everything:
        lines.append(
            f"note: all transcripts of {data} are used; scores on speech that is among them would "
            "be too good"
        )
    scored = "TEST_SPEECH" if everything else data
    model.write(path)
    lexicon = "" if unit == "words" else " --lexicon none"
    return CommandResult(
        facts,
        "\n".join(lines),
        (
            f"language model: {output}",
            f"next: s3prl-compress score MODEL --task ctc --data {scored} --lm {output}{lexicon}",
        ),
    )


def _dev_texts(data: str, used: tuple[str, ...]) -> tuple[str, ...] | None:
    """Return the transcripts of the dev split; None if the source has none apart from `used`."""
    from ..audio import open_transcribed

    try:
        texts = open_transcribed(data, "dev", minimum_samples=0).texts
    except InputError:
        return None
    return None if texts == used else texts
