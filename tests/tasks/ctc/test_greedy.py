"""Greedy decoding: against transformers, in batches and alone, with any blank."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import soundfile
import torch
from torch import nn

from s3prl_compress.audio import AudioSet, open_transcribed
from s3prl_compress.common.errors import InputError
from s3prl_compress.encoder import NAMED_SHAPES, CTCHead, SpeechEncoder, load, random_encoder, save
from s3prl_compress.evaluation import score
from s3prl_compress.tasks.ctc import emissions
from s3prl_compress.tasks.ctc.greedy import recognise
from s3prl_compress.training.ctc import add_head

from ...support.damage import flip_bit
from ...support.letters import write_letters


@pytest.fixture(scope="module")
def audio(tmp_path_factory: pytest.TempPathFactory) -> AudioSet:
    root = tmp_path_factory.mktemp("letters")
    write_letters(root)
    return open_transcribed(root).audio


@pytest.fixture(scope="module")
def encoder() -> SpeechEncoder:
    encoder = random_encoder(NAMED_SHAPES["hubert_tiny"]).eval()
    add_head(encoder, ["ab cd"], seed=0)
    return encoder


SAMPLES = 9_600


def speller(
    wave: torch.Tensor, text: str, vocabulary: tuple[str, ...], blank: int
) -> SpeechEncoder:
    """Return a tiny encoder whose CTC head spells a text on this waveform.

    Its last hidden states of the waveform are mapped to the wanted symbols by a linear equation.
    Letters last two frames, and a blank parts the ones that are doubled.
    """
    encoder = random_encoder(NAMED_SHAPES["hubert_tiny"]).eval()
    path: list[int] = []
    for letter in text.replace(" ", "|"):
        number = vocabulary.index(letter)
        path += [blank] * (path[-1:] == [number]) + [number, number]
    with torch.no_grad():
        states, frames = encoder([wave])
        count = int(frames)
        assert len(path) <= count <= encoder.shape.hidden
        path += [blank] * (count - len(path))
        inputs = torch.cat([states[-1][0, :count], torch.ones(count, 1)], dim=1).double()
        targets = nn.functional.one_hot(torch.tensor(path), len(vocabulary)).double()
        solution = (torch.linalg.pinv(inputs) @ targets).float()
        encoder.head = CTCHead(encoder.shape.hidden, vocabulary, blank)
        encoder.head.linear.weight.copy_(10 * solution[:-1].T)
        encoder.head.linear.bias.copy_(10 * solution[-1])
    return encoder


@pytest.mark.parametrize("blank", [0, 3, 8])
def test_double_letters_survive(audio: AudioSet, blank: int, tmp_path: Path) -> None:
    """HELLO stays HELLO, whatever the blank's index, in a model that was saved and loaded."""
    symbols = ["|", "H", "E", "L", "O", "W", "R", "D"]
    symbols.insert(blank, "<pad>")
    longest = max(range(len(audio.files)), key=lambda number: audio.lengths[number])
    wave = audio.read(longest, 0, SAMPLES)
    spelled = speller(wave, "HELLO DOOR", tuple(symbols), blank)
    encoder = load(save(spelled, tmp_path / "model"))
    soundfile.write(tmp_path / "a.wav", wave.numpy(), 16_000, subtype="PCM_16")
    (tmp_path / "metadata.csv").write_text("file,text\na.wav,hello door\n")
    record = score(encoder, "ctc", data=tmp_path, output=tmp_path / "results")
    assert record.score == 0
    assert recognise(encoder, open_transcribed(tmp_path).audio) == ["HELLO DOOR"]


@pytest.mark.parametrize("normalize", [False, True])
def test_a_batch_gives_what_each_utterance_gives_alone(
    encoder: SpeechEncoder, audio: AudioSet, normalize: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Utterances are normalised one by one, too, not over the batch with its padding."""
    model = copy.deepcopy(encoder)
    model.normalize = normalize
    together = recognise(model, audio)
    assert len(set(together)) > len(together) / 2
    monkeypatch.setattr(emissions, "_SECONDS_PER_BATCH", 0.0)
    assert recognise(model, audio) == together
    alone = [recognise(model, audio.subset([number]))[0] for number in range(len(audio.files))]
    assert alone == together


def test_damaged_values_are_found_and_computed_again(
    encoder: SpeechEncoder,
    audio: AudioSet,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def cached() -> emissions.Emissions:
        return emissions.cached_emissions(encoder, audio, "cpu", tmp_path)

    expected = cached()
    for place in (0.0, 0.01, 0.5, 0.999):
        (path,) = tmp_path.glob("*.safetensors")
        flip_bit(path, place)
        capsys.readouterr()
        for damaged in (True, False):
            given = cached()
            assert torch.equal(given.logits, expected.logits)
            assert given.frames == expected.frames
            assert (f"{path}: damaged" in capsys.readouterr().err) is damaged


def test_padding_and_device_of_the_encoder_stay(encoder: SpeechEncoder, audio: AudioSet) -> None:
    """The record says independent padding, whatever the encoder was used with before."""
    model = copy.deepcopy(encoder)
    model.padding = "fairseq"
    assert recognise(model, audio) == recognise(encoder, audio)
    assert model.padding == "fairseq"


def test_a_head_that_says_nothing_gives_empty_texts(
    encoder: SpeechEncoder, audio: AudioSet
) -> None:
    silent = copy.deepcopy(encoder)
    assert silent.head is not None
    with torch.no_grad():
        silent.head.linear.bias[silent.head.blank] = 1e4
    assert set(recognise(silent, audio)) == {""}


def test_weights_that_are_not_finite_are_refused(encoder: SpeechEncoder, audio: AudioSet) -> None:
    broken = copy.deepcopy(encoder)
    assert broken.head is not None
    with torch.no_grad():
        broken.head.linear.bias[0] = float("nan")
    with pytest.raises(InputError, match=r"flac: the CTC head's values for it are not finite"):
        recognise(broken, audio)


def test_no_head_is_said(audio: AudioSet) -> None:
    with pytest.raises(InputError, match="has no CTC head; fine-tune it first"):
        recognise(random_encoder(NAMED_SHAPES["hubert_tiny"]), audio)
