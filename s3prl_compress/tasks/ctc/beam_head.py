"""The task `ctc` with a language model: beam search whose weights are tuned on dev."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import product
from pathlib import Path

from tqdm import tqdm

from ...common.errors import InputError
from ...common.extras import require_extra
from ...results.records import CorpusRecord, DecodingWeights, LanguageModelRecord
from ...statistics import find_metric
from ..base.corpus import Corpus
from ..base.own_head import LM_LEXICON, NO_LEXICON, LanguageModelOptions, Recognition
from ..base.test_set import TranscribedTestSet, open_dev_set
from .beam_search import THRESHOLD, CharacterSearch, Search, WordSearch
from .decoder import CTCDecoder, notes_on
from .emissions import EMISSIONS_FOLDER, CTCModel, cached_emissions, ctc_head
from .language_model import LanguageModel, open_language_model
from .lexicon import LexiconFile, read_lexicon, spell

WEIGHTS = (0.5, 1.0, 1.5, 2.0, 2.5, 3.0)
"""Factors of the language model that are tried on dev. Those that wav2vec 2.0 reports for 4-grams
of words (its appendix on decoding) are between 1.5 and 3.5."""
WORD_SCORES = (-2.0, -1.0, 0.0, 1.0, 2.0)
"""Word scores that are tried on dev, with each of `WEIGHTS`."""


@dataclass(frozen=True)
class BeamHead(CTCDecoder):
    """A CTC head whose frames are searched for the best text under a language model."""

    language_model: LanguageModel = field(kw_only=True)
    lexicon: LexiconFile | str = field(kw_only=True)
    """A file, or one of `LM_LEXICON` and `NO_LEXICON`."""
    decoding: LanguageModelOptions = field(kw_only=True)
    dev: TranscribedTestSet | None = field(kw_only=True)
    """Where the weights are tuned; None if both are given."""

    def check_corpus(self, model: CTCModel, corpus: Corpus) -> None:
        """Raise an `InputError` if the head's vocabulary is not that of transcripts and words."""
        super().check_corpus(model, corpus)
        self._search(model)

    def recognise(self, model: CTCModel, corpus: Corpus, device: str, work: Path) -> Recognition:
        """Tune the weights on dev unless they are given, and return the transcripts of test."""
        assert isinstance(corpus, TranscribedTestSet)
        search, words = self._search(model)

        def transcripts(speech: TranscribedTestSet) -> Callable[[float, float], Iterable[str]]:
            folder = work / EMISSIONS_FOLDER
            frames = cached_emissions(model, speech.speech.audio, device, folder)
            values = frames.log_probabilities()
            return lambda weight, word_score: search.texts(values, weight, word_score)

        grid: tuple[DecodingWeights, ...] = ()
        if self.dev is None:
            assert self.decoding.weight is not None
            assert self.decoding.word_score is not None
            weight, word_score = self.decoding.weight, self.decoding.word_score
        else:
            truth = [item.label for item in self.dev.test_items()]
            grid = _tried(transcripts(self.dev), truth, self._candidates())
            best = min(grid, key=lambda tried: tried.dev_score)
            weight, word_score = best.weight, best.word_score
        bar = tqdm(
            transcripts(corpus)(weight, word_score),
            total=len(corpus.test_items()),
            desc="beam search",
            unit="utterance",
            file=sys.stderr,
        )
        used = LanguageModelRecord(
            name=self.language_model.path.name,
            sha256=self.language_model.sha256,
            order=self.language_model.order,
            lexicon=self.lexicon if isinstance(self.lexicon, str) else self.lexicon.path.name,
            words=words,
            beam=self.decoding.beam,
            weight=weight,
            word_score=word_score,
            dev=None if self.dev is None else _dev_record(self.dev),
            grid=grid,
        )
        return Recognition(
            [item.label for item in corpus.test_items()],
            list(bar),
            language_model=used,
            notes=(*notes_on(model, corpus), *self._notes(used, search, corpus)),
        )

    def _search(self, model: CTCModel) -> tuple[Search, int]:
        """Return the search for a model's symbols, and the number of words that it can write."""
        head = ctc_head(model, "the encoder")
        return _make_search(
            self.language_model, self.lexicon, head.vocabulary, head.blank, self.decoding.beam
        )

    def _candidates(self) -> list[tuple[float, float]]:
        weight, word_score = self.decoding.weight, self.decoding.word_score
        return list(
            product(
                WEIGHTS if weight is None else (weight,),
                WORD_SCORES if word_score is None else (word_score,),
            )
        )

    def _notes(
        self, used: LanguageModelRecord, search: Search, corpus: TranscribedTestSet
    ) -> tuple[str, ...]:
        notes = []
        if self.dev is not None and self.dev.fingerprint() == corpus.fingerprint():
            notes.append(
                "The weights of the language model were tuned on these very recordings, which "
                "makes the score too good."
            )
        for name, chosen, tried in (
            ("weight", used.weight, WEIGHTS),
            ("word score", used.word_score, WORD_SCORES),
        ):
            given = (self.decoding.weight, self.decoding.word_score)[name != "weight"] is not None
            if not given and chosen in (tried[0], tried[-1]):
                notes.append(
                    f"The {name} of the language model, {chosen:g}, is at the edge of those tried."
                )
        if search.unknown_words:
            kind = "letters of the CTC head" if used.lexicon == NO_LEXICON else "words"
            notes.append(f"The language model does not know {search.unknown_words} of the {kind}.")
        return tuple(notes)


def beam_head(options: LanguageModelOptions, corpus: TranscribedTestSet) -> BeamHead:
    """Check the files that the options name, and return the head for one test set.

    Raises:
        InputError: the extra is not installed, a file cannot be used, or there is no dev split and
            not both weights are given.
    """
    require_extra("lm", "decoding with a language model")
    model = open_language_model(options.file)
    lexicon = _lexicon(model, options.lexicon)
    tuned = options.weight is None or options.word_score is None
    dev = open_dev_set(corpus, options.dev) if tuned else None
    if options.dev is not None and not tuned:
        raise InputError(
            f"dev set {options.dev}: both weights of the language model are given, so nothing is "
            "tuned; leave one of them out"
        )
    settings = {
        "decoding": "beam search",
        "language_model": model.sha256,
        "lexicon": lexicon if isinstance(lexicon, str) else lexicon.sha256,
        "beam": options.beam,
        "threshold": THRESHOLD,
        "weights": list(WEIGHTS) if options.weight is None else [options.weight],
        "word_scores": list(WORD_SCORES) if options.word_score is None else [options.word_score],
        "dev": None if dev is None else dev.fingerprint(),
    }
    return BeamHead(
        engine="lm",
        settings=settings,
        note=(
            f"Word errors of the model's own CTC head with a {model.order}-gram language model "
            f"({model.path.name}): never compared with greedy decoding."
        ),
        needs="CTC head",
        made_by=("ctc",),
        language_model=model,
        lexicon=lexicon,
        decoding=options,
        dev=dev,
    )


def _lexicon(model: LanguageModel, given: str) -> LexiconFile | str:
    if given == NO_LEXICON:
        return given
    if model.of_characters:
        raise InputError(
            f"{model.path}: a language model of characters, which takes no lexicon; give "
            "--lexicon none"
        )
    if given != LM_LEXICON:
        return read_lexicon(given)
    if model.words is None:
        raise InputError(
            f"{model.path}: a KenLM binary does not list its words; give its lexicon (--lexicon "
            "FILE, one word per line), or the ARPA file"
        )
    return given


@lru_cache(maxsize=1)
def _make_search(
    model: LanguageModel,
    lexicon: LexiconFile | str,
    vocabulary: tuple[str, ...],
    blank: int,
    beam: int,
) -> tuple[Search, int]:
    """Return the search, and the number of words that it can write; the last one is kept."""
    if lexicon == NO_LEXICON:
        return CharacterSearch(model, vocabulary, blank, beam), 0
    if isinstance(lexicon, LexiconFile):
        entries = lexicon.entries
    else:
        entries = tuple((word, ()) for word in model.words or ())
    spelled = spell(entries, vocabulary, blank)
    if not spelled:
        named = model.path if isinstance(lexicon, str) else lexicon.path
        raise InputError(
            f"{named}: none of its {len(entries)} words can be spelled with the symbols "
            f"{' '.join(vocabulary)}"
        )
    return WordSearch(model, spelled, vocabulary, blank, beam), len(spelled)


def _tried(
    transcripts: Callable[[float, float], Iterable[str]],
    truth: Sequence[str],
    candidates: Sequence[tuple[float, float]],
) -> tuple[DecodingWeights, ...]:
    """Return the word error rates on dev for all candidates; of equal ones, the first is chosen."""
    metric = find_metric("WER")
    bar = tqdm(candidates, desc="tuning on dev", unit="setting", file=sys.stderr)
    return tuple(
        DecodingWeights(
            weight=weight,
            word_score=word_score,
            dev_score=float(metric.score(truth, list(transcripts(weight, word_score)))),
        )
        for weight, word_score in bar
    )


def _dev_record(dev: TranscribedTestSet) -> CorpusRecord:
    return dev.record().model_copy(update={"sizes": {"dev": len(dev.speech.texts)}})
