"""Recognition of speech, greedily, and of texts in which the decoder did not stop as it should."""

from __future__ import annotations

import copy
import sys
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from ..audio import SAMPLING_RATE, AudioSet
from ..common.errors import InputError
from .cost import window_samples
from .model import Whisper
from .openai_pt import VOCABULARIES
from .tokenizer import feature_extractor, load_tokenizer

NEW_TOKENS = 224
"""Cap on new tokens in a window, as in openai's code: half of the decoder's positions."""

REPETITIVE = 2.4
"""Compression ratio above which a text counts as repetitive, as in openai's code."""

_BATCH = 16
"""Utterances in a batch. It changes results by rounding only."""


@dataclass(frozen=True)
class Transcript:
    """The text of one recording."""

    text: str
    """As the decoder wrote it, before any normalisation."""
    capped: bool = False
    """The decoder reached the cap on new tokens in some window."""
    repetitive: bool = False
    """The text of some window has a compression ratio above `REPETITIVE`."""

    @property
    def runaway(self) -> str:
        """The signs of a decoder that did not stop: "cap", "repetition", both, or none."""
        signs = {"cap": self.capped, "repetition": self.repetitive}
        return " and ".join(name for name, shown in signs.items() if shown)


class Recogniser:
    """A Whisper model that writes down what is said, in the language that is spoken.

    Decoding is greedy: no beams, no sampling, and no fallback to other temperatures. Audio that
    fits into the encoder's window of 30 s is recognised without timestamps. Longer audio is
    recognised by transformers' sequential algorithm: window after window, each of which starts at
    the last timestamp of the one before, without the earlier text as a prompt.
    """

    def __init__(
        self,
        whisper: Whisper,
        *,
        language: str | None = None,
        suppress: bool = True,
        max_new_tokens: int | None = None,
        tokenizer: str | None = None,
        name: str = "the model",
    ) -> None:
        """Check that a model can be used with these settings.

        Args:
            whisper: the model; it is not changed.
            language: code of a language (see `language_code`); None: English, and nothing else is
                possible for English-only models.
            suppress: whether the tokens that the model's generation config suppresses stay
                suppressed.
            max_new_tokens: cap on new tokens in a window; None: `NEW_TOKENS`, or as many as the
                decoder has positions for if those are fewer.
            tokenizer: folder or hub id of a tokenizer, if the model has none of its own.
            name: of the model, for messages.

        Raises:
            InputError: there is no tokenizer, the model does not know the language, or the cap is
                above the positions of its decoder.
        """
        self.whisper = whisper
        self._prompt = decoder_prompt(whisper, language, name)
        # The start, the language, the task, and the mark for no timestamps.
        room = whisper.shape.text_positions - len(self._prompt) - 2
        if max_new_tokens is not None and max_new_tokens > room:
            raise InputError(
                f"{name}: max_new_tokens {max_new_tokens}: its decoder has positions for {room} "
                "after the prompt"
            )
        self.max_new_tokens = min(max_new_tokens or NEW_TOKENS, room)
        self._tokenizer = load_tokenizer(whisper, tokenizer, name)
        self._extractor = feature_extractor(whisper, name)
        self._generation = copy.deepcopy(whisper.model.generation_config)
        self._generation.max_length = None  # the cap takes its place
        if not suppress:
            self._generation.suppress_tokens = None
            self._generation.begin_suppress_tokens = None

    def transcribe(self, audio: AudioSet, device: str = "cpu") -> list[Transcript]:
        """Return the text of every recording, in the order of `audio`.

        Recordings that fit into a window are batched, which changes no text; longer ones are
        recognised one by one. An empty recording has an empty text.

        Raises:
            InputError: a recording cannot be read.
        """
        window = window_samples(self.whisper.shape)
        texts = [Transcript("")] * len(audio.files)
        # Texts of similar lengths end together.
        numbers = sorted(range(len(texts)), key=lambda number: -audio.lengths[number])
        short = [number for number in numbers if 0 < audio.lengths[number] <= window]
        batches = [[number] for number in numbers if audio.lengths[number] > window]
        batches += [short[start : start + _BATCH] for start in range(0, len(short), _BATCH)]
        total = sum(map(len, batches))
        progress = tqdm(total=total, desc="recognition", unit="utterance", file=sys.stderr)
        with self._ready(device), progress, torch.inference_mode():
            for batch in batches:
                waves = [audio.read(number) for number in batch]
                long = len(waves[0]) > window
                found = self._long(waves[0]) if long else self._short(waves)
                for number, transcript in zip(batch, found, strict=True):
                    texts[number] = transcript
                progress.update(len(batch))
        return texts

    def _short(self, waves: Sequence[Tensor]) -> list[Transcript]:
        """Recognise recordings that fit into a window."""
        features = self._features(waves, padding="max_length", truncation=True)
        return self._transcripts(features["input_features"], return_timestamps=False)

    def _long(self, wave: Tensor) -> list[Transcript]:
        """Recognise one recording that is longer than a window."""
        features = self._features(
            [wave], padding="longest", truncation=False, return_attention_mask=True
        )
        return self._transcripts(
            features["input_features"],
            attention_mask=features["attention_mask"],
            return_timestamps=True,
            condition_on_prev_tokens=False,
        )

    def _transcripts(self, features: Tensor, **options: Any) -> list[Transcript]:
        """Decode log-mel features, [batch, bins, frames]."""
        model: Any = self.whisper.model
        result = model.generate(
            features,
            **self._prompt,
            max_new_tokens=self.max_new_tokens,
            do_sample=False,
            num_beams=1,
            return_segments=True,
            **options,
        )
        return [
            self._transcript(tokens, segments)
            for tokens, segments in zip(result["sequences"], result["segments"], strict=True)
        ]

    def _transcript(self, tokens: Tensor, segments: Sequence[dict[str, Any]]) -> Transcript:
        """Return the transcript of a recording from all of its tokens, and by segments.

        Even what fits into a window is decoded in several, if the model writes time stamps without
        being asked for them.
        """
        # Segments of one window share the tokens that the decoder returned for it.
        windows = list({id(part["result"]): part["result"] for part in segments}.values())
        return Transcript(
            self._text(tokens),
            # Without reaching the cap, the end comes last, or padding after it.
            capped=any(int(window[-1]) not in self._ends for window in windows),
            repetitive=any(compression_ratio(self._text(own)) > REPETITIVE for own in windows),
        )

    @property
    def _ends(self) -> set[int]:
        generation = self._generation
        return {generation.eos_token_id, generation.pad_token_id}

    def _features(self, waves: Sequence[Tensor], **options: Any) -> dict[str, Tensor]:
        """Return log-mel features [batch, bins, frames], and what else the extractor is asked."""
        arrays = [wave.numpy() for wave in waves]
        found = self._extractor(
            arrays,
            sampling_rate=SAMPLING_RATE,
            max_length=window_samples(self.whisper.shape),
            return_tensors="pt",
            **options,
        )
        return {key: tensor.to(self.whisper.device) for key, tensor in found.items()}

    def _text(self, tokens: Tensor) -> str:
        return str(self._tokenizer.decode(tokens, skip_special_tokens=True))

    @contextmanager
    def _ready(self, device: str) -> Iterator[None]:
        """Put the model on the device, in eval mode and with our settings; restore it at the end.

        transformers takes what is missing in a given generation config from that of the model, so
        ours has to stand in its place.
        """
        model, home = self.whisper.model, self.whisper.device
        before, training = model.generation_config, model.training
        try:
            model.generation_config = self._generation
            self.whisper.to(device)
            model.eval()
            with without_warnings():
                yield
        finally:
            model.generation_config = before
            self.whisper.to(home)
            model.train(training)


@contextmanager
def without_warnings() -> Iterator[None]:
    """Silence transformers, whose `generate` warns of settings that it sets itself."""
    from transformers import logging

    verbosity = logging.get_verbosity()
    try:
        logging.set_verbosity_error()
        yield
    finally:
        logging.set_verbosity(verbosity)


def compression_ratio(text: str) -> float:
    """Return the bytes of a text over its bytes after zlib, as openai's code computes it."""
    data = text.strip().encode("utf-8")
    return len(data) / len(zlib.compress(data))


def language_code(language: str) -> str:
    """Return Whisper's code of a language that is given by its code or its English name.

    Raises:
        ValueError: Whisper has no such language.
    """
    from transformers.models.whisper.tokenization_whisper import LANGUAGES, TO_LANGUAGE_CODE

    name = language.strip().lower()
    code = TO_LANGUAGE_CODE.get(name, name)
    if code not in LANGUAGES:
        raise ValueError(f"{language!r} is none of Whisper's languages; give a code such as en, de")
    return str(code)


def is_multilingual(whisper: Whisper) -> bool:
    """Whether a model knows languages other than English."""
    english = whisper.shape.vocabulary == VOCABULARIES[0]
    return bool(getattr(whisper.model.generation_config, "is_multilingual", not english))


def decoder_prompt(whisper: Whisper, language: str | None, name: str) -> dict[str, str]:
    """Return the language and the task as arguments of `generate`; none if it is English-only.

    Raises:
        InputError: the model, which is called `name`, does not know the language, or its generation
            config lacks the tokens.
    """
    if not is_multilingual(whisper):
        if language is not None:
            raise InputError(
                f"{name}: language {language}: it is an English-only model, to which no language "
                "is given; leave that out"
            )
        return {}
    generation = whisper.model.generation_config
    languages = getattr(generation, "lang_to_id", None)
    if not languages or "transcribe" not in (getattr(generation, "task_to_id", None) or {}):
        raise InputError(
            f"{name}: its generation_config.json does not name the tokens of languages and tasks; "
            "take the file of the same model on the hub"
        )
    code = language or "en"
    if f"<|{code}|>" not in languages:
        raise InputError(f"{name}: language {code}: this model does not know it")
    return {"language": code, "task": "transcribe"}
