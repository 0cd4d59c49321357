"""sherpa-onnx recognises with an exported model what its encoder recognises."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile
import torch

from s3prl_compress import cli
from s3prl_compress.encoder import save
from s3prl_compress.encoder.ctc_text import decode
from s3prl_compress.encoder.exporters import find_export_target

from .models import odd_encoder, tuned_encoder

for _module in ("onnx", "onnxruntime", "onnxscript"):
    pytest.importorskip(_module, reason="the extra onnx is not installed")

# A process of its own: the package brings another ONNX Runtime.
RECOGNISE = """
import json, sys
import sherpa_onnx, soundfile

model, tokens, *files = sys.argv[1:]
recogniser = sherpa_onnx.OfflineRecognizer.from_omnilingual_asr_ctc(model, tokens)
texts = []
for file in files:
    stream = recogniser.create_stream()
    samples, rate = soundfile.read(file, dtype="float32")
    stream.accept_waveform(rate, samples)
    recogniser.decode_stream(stream)
    texts.append(stream.result.text)
print(json.dumps(texts))
"""


def test_it_writes_the_same_texts(
    tmp_path: Path, tones: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("sherpa_onnx", reason="sherpa-onnx is not installed")
    encoder = tuned_encoder()
    head = encoder.head
    assert head is not None
    # The blank last, as sherpa-onnx must find it by its name.
    head.vocabulary = (*head.vocabulary[1:], head.vocabulary[0])
    head.blank = len(head.vocabulary) - 1
    encoder.normalize = True
    with torch.no_grad():
        head.linear.weight.mul_(30)
    files, expected = [], []
    generator = torch.Generator().manual_seed(2)
    for number, length in enumerate((16_000, 30_000)):
        waveform = 0.1 * torch.randn(length, generator=generator)
        file = tmp_path / f"{number}.wav"
        soundfile.write(file, waveform.numpy(), 16_000, subtype="FLOAT")
        with torch.no_grad():
            best = head(encoder([waveform])[0][-1])[0].argmax(-1)
        files.append(str(file))
        expected.append(decode(best.tolist(), head.vocabulary, head.blank))
    assert all(expected)
    folder, output = save(encoder, tmp_path / "model"), tmp_path / "sherpa"
    arguments = ["--format", "sherpa-onnx", "--audio", str(tones), "--output", str(output)]
    assert cli.main(["export", str(folder), *arguments]) == 0
    assert "from_omnilingual_asr_ctc" in capsys.readouterr().out
    places = [str(output / name) for name in ("model.onnx", "tokens.txt")]
    done = subprocess.run(
        [sys.executable, "-c", RECOGNISE, *places, *files],
        capture_output=True,
        text=True,
        check=True,
    )
    assert [" ".join(text.split()) for text in json.loads(done.stdout)] == expected
    # An earlier export is replaced, anything else is not.
    target = find_export_target("sherpa-onnx")
    target.check_output(output)
    (output / "notes.txt").write_text("mine")
    assert cli.main(["export", str(folder), *arguments]) == 2
    assert "not an earlier export" in capsys.readouterr().err


def test_what_it_cannot_hold_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = save(odd_encoder(), tmp_path / "model")
    output = tmp_path / "out"
    command = ["export", str(folder), "--format", "sherpa-onnx", "--output", str(output)]
    assert cli.main(command) == 2
    assert "this model has no CTC head" in capsys.readouterr().err
    encoder = tuned_encoder()
    assert encoder.head is not None
    encoder.head.vocabulary = ("<pad>", "|", "A B", "C")[: len(encoder.head.vocabulary)]
    save(encoder, folder)
    assert cli.main(command) == 2
    assert "cannot hold the symbol 'A B'" in capsys.readouterr().err
    assert not output.exists()
