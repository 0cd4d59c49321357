from __future__ import annotations

import struct
import tracemalloc
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray
from scipy.signal import resample_poly

from s3prl_compress.audio import reading
from s3prl_compress.audio.audio_set import open_audio
from s3prl_compress.audio.clips import read_samples
from s3prl_compress.audio.reading import read_audio, read_header, to_int16
from s3prl_compress.common.errors import InputError
from s3prl_compress.tasks.base.prepare import convert

FORMS = {
    "PCM_16": ("wav", "PCM_16"),
    "PCM_24": ("wav", "PCM_24"),
    "PCM_32": ("wav", "PCM_32"),
    "FLOAT": ("wav", "FLOAT"),
    "DOUBLE": ("wav", "DOUBLE"),
    "FLAC": ("flac", "PCM_16"),
    "FLAC_24": ("flac", "PCM_24"),
    "VORBIS": ("ogg", "VORBIS"),
    "OPUS": ("opus", "OPUS"),
}
RATES = (8000, 16_000, 44_100)


def speech(rate: int, channels: int = 1, seconds: float = 1.2) -> NDArray[np.float64]:
    """Return a 440 Hz tone with a little noise, [samples, channels], each channel another."""
    time = np.arange(int(rate * seconds)) / rate
    tone = 0.4 * np.sin(2 * np.pi * 440 * time)
    noise = 0.02 * np.random.default_rng(0).standard_normal((len(time), channels))
    return tone[:, None] + noise


def write(path: Path, form: str, rate: int, channels: int = 1, seconds: float = 1.2) -> Path:
    suffix, subtype = FORMS[form]
    path = path.with_suffix(f".{suffix}")
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = "OGG" if suffix == "opus" else None
    soundfile.write(path, speech(rate, channels, seconds), rate, subtype, format=kind)
    return path


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("form", list(FORMS))
def test_every_reader_hears_the_same(tmp_path: Path, form: str, rate: int, channels: int) -> None:
    if form == "OPUS" and rate == 44_100:
        pytest.skip("Opus has no such rate")
    path = write(tmp_path / "in" / "a", form, rate, channels)
    decoded, _ = soundfile.read(path, dtype="float64", always_2d=True)
    ratio = Fraction(16_000, rate)
    expected = resample_poly(decoded.mean(axis=1), ratio.numerator, ratio.denominator)
    found = read_audio(path)
    np.testing.assert_array_equal(found, expected)
    assert len(found) == read_header(path).length == 19_200
    spectrum = np.abs(np.fft.rfft(found))
    assert np.argmax(spectrum) / 1.2 == pytest.approx(440, abs=1)
    assert found.std() == pytest.approx(0.4 / np.sqrt(2), abs=0.02)

    # Training hears what `prepare` would write, to the bit; so do low_rank and score --task ctc.
    audio = open_audio(path.parent)
    trained = audio.read(0).numpy()
    np.testing.assert_array_equal(trained, audio.hold().read(0).numpy())
    convert(path, tmp_path / "out.wav")
    np.testing.assert_array_equal(trained, soundfile.read(tmp_path / "out.wav")[0])
    np.testing.assert_allclose(trained, found, atol=2**-16 + 1e-9)
    if rate == 16_000:
        np.testing.assert_array_equal(read_samples(path).numpy(), found.astype(np.float32))
    else:
        with pytest.raises(
            InputError, match=f"sampled at {rate} Hz instead of 16000; .*`s3prl-compress"
        ):
            read_samples(path)


@pytest.mark.parametrize("rate", [8000, 11_025, 16_000, 22_050, 44_100, 48_000])
@pytest.mark.parametrize("form", ["PCM_16", "FLOAT", "FLAC", "VORBIS", "OPUS"])
def test_a_part_is_the_part_of_the_whole(tmp_path: Path, form: str, rate: int) -> None:
    if form == "OPUS" and rate in (11_025, 22_050, 44_100):
        pytest.skip("Opus has no such rate")
    path = write(tmp_path / "a", form, rate, 2, seconds=3.01)
    whole = read_audio(path)
    parts = [(0, 1), (1, 5), (320, 16_000), (7777, 3), (30_001, 12_345), (48_000, 5000)]
    for start, samples in [*parts, (len(whole) - 1, 10), (len(whole), 4), (10**6, 1)]:
        part = read_audio(path, start, samples)
        np.testing.assert_array_equal(part, whole[start : start + samples])
    np.testing.assert_array_equal(read_audio(path, 20_000), whole[20_000:])


def test_16_bits_round_and_clip() -> None:
    integers = np.array([-32768, -1, 0, 1, 32767], dtype=np.int16)
    np.testing.assert_array_equal(to_int16(integers / 32768), integers)
    np.testing.assert_array_equal(to_int16(np.array([1.5, -1.5, 0.6 / 32768])), [32767, -32768, 1])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([0.1, np.nan, 0.1], r"a\.wav: holds samples that are NaN or infinite .first: at 0\.100 s"),
        ([0.1, np.inf, 0.1], "NaN or infinite"),
        ([0.1, -8000.0, 0.1], r"a\.wav: float samples as large as 8000 where full scale is 1"),
        ([], r"a\.wav: holds no samples; remove it"),
    ],
)
@pytest.mark.parametrize("rate", RATES)
def test_samples_that_are_no_audio_are_named(
    tmp_path: Path, values: list[float], message: str, rate: int
) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, np.repeat(values, rate // 10), rate, subtype="FLOAT")
    with pytest.raises(InputError, match=message) as caught:
        read_audio(path)
    assert "\n" not in str(caught.value)


def test_files_that_are_no_audio_are_named(tmp_path: Path) -> None:
    (tmp_path / "text.wav").write_text("speech")
    (tmp_path / "headerless.raw").write_bytes(bytes(1000))
    (tmp_path / "folder.wav").mkdir()
    whole = write(tmp_path / "whole", "FLAC", 16_000).read_bytes()
    (tmp_path / "cut.flac").write_bytes(whole[: len(whole) // 2])
    for name in ("text.wav", "headerless.raw", "folder.wav", "absent.wav", "cut.flac"):
        with pytest.raises(InputError, match=f"{name}: cannot be read as audio") as caught:
            read_audio(tmp_path / name)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("rate", [1, 999, 768_001, 2**31 - 1])
def test_rates_of_damaged_headers_are_named(tmp_path: Path, rate: int) -> None:
    path = write(tmp_path / "a", "PCM_16", 16_000)
    data = bytearray(path.read_bytes())
    struct.pack_into("<I", data, 24, rate)
    path.write_bytes(data)
    for read in (read_audio, read_header):
        with pytest.raises(InputError, match=rf"a\.wav: sampled at {rate} Hz, which is not from"):
            read(path)


def test_a_length_that_lies_takes_no_memory(tmp_path: Path) -> None:
    path = write(tmp_path / "a", "FLAC", 16_000)
    data = bytearray(path.read_bytes())
    data[21] |= 0x0F  # STREAMINFO's number of samples: 36 bits that end at byte 26
    path.write_bytes(data)
    assert read_header(path).frames > 2**35
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match=r"a\.flac: cannot be read as audio"):
            read_audio(path)
        assert tracemalloc.get_traced_memory()[1] < 100e6
    finally:
        tracemalloc.stop()


def test_many_blocks_are_read_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a", "PCM_16", 44_100, channels=2)
    whole = read_audio(path)
    monkeypatch.setattr(reading, "_BLOCK", 1000)
    np.testing.assert_array_equal(read_audio(path), whole)


def test_names_that_cannot_be_those_of_files_are_missing_files(tmp_path: Path) -> None:
    write(tmp_path / "a", "PCM_16", 16_000)
    (tmp_path / "metadata.csv").write_text(f"file\na.wav\n{'x' * 300}.wav\n")
    with pytest.raises(InputError, match=r"missing file: 1 \(x"):
        open_audio(tmp_path)
