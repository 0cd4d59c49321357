"""Recognition against transformers' own pipeline, in batches and alone, and its runaways."""

from __future__ import annotations

import copy
import json
import zlib
from pathlib import Path

import numpy as np
import pytest
import soundfile
from transformers import (
    AutomaticSpeechRecognitionPipeline,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
    WhisperTokenizerFast,
)

from s3prl_compress.audio import AudioSet, open_audio
from s3prl_compress.common.errors import InputError
from s3prl_compress.whisper import (
    Recogniser,
    Transcript,
    Whisper,
    compress,
    load,
    recognition,
    save,
)
from s3prl_compress.whisper.recognition import compression_ratio, language_code

from .talking import talking_folder, tokenizer

SECONDS = (0.7, 2.0, 3.1, 0.5, 1.1)
TALKING, ENDING = 4, 5
"""Seeds of models: some texts of the one reach the cap, all of the other's end before."""


@pytest.fixture(scope="module")
def audio(tmp_path_factory: pytest.TempPathFactory) -> AudioSet:
    """Noisy tones, of which one is longer than the window."""
    root, random = tmp_path_factory.mktemp("audio"), np.random.default_rng(0)
    for number, seconds in enumerate(SECONDS):
        time = np.arange(round(16_000 * seconds)) / 16_000
        tone = 0.3 * np.sin(2 * np.pi * 25 * (number + 1) * time)
        noisy = tone + 0.05 * random.standard_normal(len(time))
        soundfile.write(root / f"{number}.wav", noisy, 16_000)
    return open_audio(root)


@pytest.fixture(scope="module")
def talking(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return talking_folder(tmp_path_factory.mktemp("talking") / "hf", TALKING)


@pytest.fixture(scope="module")
def whisper(talking: Path) -> Whisper:
    """Tests must not change it."""
    return load(talking)


@pytest.fixture(scope="module")
def written(whisper: Whisper, audio: AudioSet) -> list[Transcript]:
    return Recogniser(whisper).transcribe(audio)


def texts(recogniser: Recogniser, audio: AudioSet) -> list[str]:
    return [one.text for one in recogniser.transcribe(audio)]


@pytest.mark.parametrize("english_only", [False, True])
def test_it_writes_what_transformers_pipeline_writes(
    english_only: bool, audio: AudioSet, tmp_path: Path
) -> None:
    folder = talking_folder(tmp_path / "hf", TALKING, english_only=english_only)
    model = WhisperForConditionalGeneration.from_pretrained(folder).eval()
    model.generation_config.max_length = None
    pipeline = AutomaticSpeechRecognitionPipeline(
        model=model,
        tokenizer=WhisperTokenizerFast.from_pretrained(folder),
        feature_extractor=WhisperFeatureExtractor.from_pretrained(folder),
        device="cpu",
    )
    told = {} if english_only else {"language": "en", "task": "transcribe"}
    options = {**told, "max_new_tokens": 20, "num_beams": 1, "do_sample": False}
    expected = []
    for number, length in enumerate(audio.lengths):
        long = length > 32_000
        result = pipeline(
            {"raw": audio.read(number).numpy(), "sampling_rate": 16_000},
            return_timestamps=long,
            generate_kwargs=options,
        )
        expected.append(result["text"])
    found = texts(Recogniser(load(folder), max_new_tokens=20), audio)
    assert found == expected
    assert len(set(found)) > 3


def test_a_batch_gives_what_each_recording_gives_alone(
    whisper: Whisper,
    audio: AudioSet,
    written: list[Transcript],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recogniser = Recogniser(whisper)
    alone = [recogniser.transcribe(audio.subset([n]))[0] for n in range(len(audio.files))]
    assert written == alone
    assert {"", "cap", "cap and repetition"} == {one.runaway for one in written}
    monkeypatch.setattr(recognition, "_BATCH", 2)
    assert recogniser.transcribe(audio) == written


def test_a_compressed_model_is_recognised_with_before_and_after_saving(
    whisper: Whisper, audio: AudioSet, written: list[Transcript], tmp_path: Path
) -> None:
    smaller = compress(whisper, "clustering", sparsity=0.3)
    found = texts(Recogniser(smaller), audio)
    assert found != [one.text for one in written]
    assert texts(Recogniser(load(save(smaller, tmp_path / "w30"))), audio) == found


def test_the_cap_is_reached_by_what_does_not_end_before(audio: AudioSet, tmp_path: Path) -> None:
    whisper = load(talking_folder(tmp_path / "hf", ENDING))
    one = audio.subset([0])
    (free,) = Recogniser(whisper).transcribe(one)
    assert not free.capped
    found = [
        Recogniser(whisper, max_new_tokens=cap).transcribe(one)[0]
        for cap in range(1, len(free.text) + 6)
    ]
    enough = [not own.capped for own in found].index(True)
    assert enough >= len(free.text)  # the end counts, too
    assert not any(own.capped for own in found[enough:])
    assert {own.text for own in found[enough:]} == {free.text}
    assert all(free.text.startswith(own.text) for own in found[:enough])


def test_repetition_is_zlibs_ratio_of_bytes() -> None:
    text = "ça va " * 20
    data = text.strip().encode()
    assert compression_ratio(text) == len(data) / len(zlib.compress(data)) > 2.4
    assert compression_ratio("") == 0


def test_repetition_is_found_in_long_recordings(
    whisper: Whisper, audio: AudioSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recognition, "REPETITIVE", 0.0)
    (found,) = Recogniser(whisper).transcribe(audio.subset([2]))
    assert found.repetitive


def test_suppressed_tokens_can_be_allowed(
    whisper: Whisper, audio: AudioSet, written: list[Transcript]
) -> None:
    kept = set("abcde ")
    assert set("".join(one.text for one in written)) <= kept
    before = copy.deepcopy(whisper.model.generation_config.to_dict())
    assert set("".join(texts(Recogniser(whisper, suppress=False), audio.subset([0, 1])))) - kept
    assert whisper.model.generation_config.to_dict() == before


def test_the_language_is_told(whisper: Whisper, audio: AudioSet, written: list[Transcript]) -> None:
    (english, german) = (texts(Recogniser(whisper, language=own), audio) for own in ("en", "de"))
    assert english == [one.text for one in written] != german


def test_an_empty_recording_has_an_empty_text(
    whisper: Whisper, audio: AudioSet, written: list[Transcript], tmp_path: Path
) -> None:
    soundfile.write(tmp_path / "none.wav", np.zeros(0), 16_000)
    soundfile.write(tmp_path / "one.wav", audio.read(1).numpy(), 16_000, subtype="FLOAT")
    both = texts(Recogniser(whisper), open_audio(tmp_path, minimum_samples=0))
    assert both == ["", written[1].text]


def test_the_model_stays_as_it_was(
    whisper: Whisper, audio: AudioSet, written: list[Transcript]
) -> None:
    model = copy.deepcopy(whisper)
    model.model.train()
    config = model.model.generation_config
    assert texts(Recogniser(model), audio.subset([0])) == [written[0].text]
    assert model.model.training
    assert model.model.generation_config is config


def test_the_tokenizer_may_be_that_of_the_base_or_be_named(
    talking: Path, audio: AudioSet, written: list[Transcript], tmp_path: Path
) -> None:
    bare, first = load(talking), audio.subset([0])
    bare.files = {name: own for name, own in bare.files.items() if "tokenizer" not in name}
    of_base = load(save(bare, tmp_path / "bare"))
    assert texts(Recogniser(of_base), first) == [written[0].text]
    bare.provenance = bare.provenance.model_copy(update={"base": "tiny.pt"})
    with pytest.raises(InputError, match=r"^x: no tokenizer in it, nor in its base tiny\.pt; name"):
        Recogniser(bare, name="x")
    assert texts(Recogniser(bare, tokenizer=str(talking)), first) == [written[0].text]


def test_what_cannot_be_used_is_refused_in_one_line(
    whisper: Whisper, talking: Path, tmp_path: Path
) -> None:
    def refused(match: str, model: Whisper = whisper, **options: object) -> None:
        with pytest.raises(InputError, match=match) as error:
            Recogniser(model, name="x", **options)  # type: ignore[arg-type]
        assert "\n" not in str(error.value)

    english = load(talking_folder(tmp_path / "en", TALKING, english_only=True))
    refused("^x: language en: it is an English-only model", english, language="en")
    refused("^x: language fr: this model does not know it", language="fr")
    refused("^x: max_new_tokens 29: its decoder has positions for 28", max_new_tokens=29)
    Recogniser(whisper, max_new_tokens=28)
    refused("tokenizer /no/where: no such folder, and not a hub id", tokenizer="/no/where")
    refused("the folder has no tokenizer.json or merges.txt", tokenizer=str(tmp_path))
    tokenizer(1.0).save_pretrained(tmp_path / "shorter")
    Recogniser(whisper, tokenizer=str(tmp_path / "shorter"))
    tokenizer(9.0).save_pretrained(tmp_path / "longer")
    refused("it is that of another model", tokenizer=str(tmp_path / "longer"))
    broken = load(talking)
    broken.files["tokenizer.json"] = b"{"
    refused("^x: the tokenizer cannot be read: ", broken)
    other = load(talking)
    other.files["preprocessor_config.json"] = json.dumps({"feature_size": 80}).encode()
    refused("makes 80 mel bins, but the model takes 8", other)
    outdated = load(talking)
    del outdated.model.generation_config.lang_to_id
    refused("generation_config.json does not name the tokens of languages", outdated)


def test_languages_have_codes_and_names() -> None:
    assert [language_code(name) for name in ("de", "German", " EN", "cantonese")] == [
        "de",
        "de",
        "en",
        "yue",
    ]
    with pytest.raises(ValueError, match="'klingon' is none of Whisper's languages"):
        language_code("klingon")
