"""Folders for transformers: read back by transformers and by us, to the same hidden states."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import transformers
from torch import nn

from s3prl_compress.cli import main
from s3prl_compress.common.errors import InputError
from s3prl_compress.encoder import (
    CTCHead,
    EncoderShape,
    HeadShape,
    SpeechEncoder,
    fingerprint,
    load,
    random_encoder,
    save,
)
from s3prl_compress.encoder.ctc_text import decode
from s3prl_compress.encoder.exporters.transformers import export_notes, export_transformers
from s3prl_compress.methods import compress

from ...support.baselines import (
    NAMES,
    TOLERANCE,
    VARIANTS,
    baselines,
    noise,
    small_encoder,
    small_shape,
    states_of,
)

SYMBOLS = ("<pad>", "A", "|", "Ä")


def _changed(family: str = "hubert", **changes: object) -> SpeechEncoder:
    """A small encoder whose second layer differs."""
    shape = small_shape(family, False)
    second = shape.layers[1].model_copy(update=changes)
    encoder = random_encoder(shape.model_copy(update={"layers": (shape.layers[0], second)}))
    baselines.randomise(encoder)
    return encoder.eval()


def _agrees_with_transformers(
    encoder: SpeechEncoder, folder: Path, tolerance: float = TOLERANCE
) -> None:
    model: nn.Module = transformers.AutoModel.from_pretrained(folder).eval()
    (waveform,) = noise(6_000)
    extractor = transformers.AutoFeatureExtractor.from_pretrained(folder)
    assert extractor.do_normalize == encoder.normalize
    # Not the extractor's own values: it adds 1e-7 to the variance, these encoders 1e-5.
    values = F.layer_norm(waveform, waveform.shape) if encoder.normalize else waveform
    theirs = baselines.transformers_states(model, values)
    assert baselines.largest_difference(states_of(encoder, [waveform]), theirs) <= tolerance


@pytest.mark.parametrize(("family", "large"), VARIANTS, ids=NAMES)
def test_both_read_it_back(family: str, large: bool, tmp_path: Path) -> None:
    encoder = small_encoder(family, large, normalize=large)
    folder = export_transformers(encoder, tmp_path / "out")
    _agrees_with_transformers(encoder, folder)
    again = load(folder)
    assert again.normalize == large
    assert again.shape == encoder.shape
    assert fingerprint(again) == fingerprint(encoder)
    assert {path.name for path in folder.iterdir()} == {
        "config.json",
        "model.safetensors",
        "preprocessor_config.json",
    }


def test_nothing_is_missing_or_left_over_in_transformers(tmp_path: Path) -> None:
    folder = export_transformers(small_encoder("hubert", False), tmp_path / "out")
    loaded: Any = transformers.HubertModel.from_pretrained(folder, output_loading_info=True)
    _, report = loaded
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    assert not report["mismatched_keys"]


def test_a_ctc_head_goes_along(tmp_path: Path) -> None:
    encoder = small_encoder("hubert", True)
    encoder.head = CTCHead(encoder.shape.hidden, SYMBOLS, 0)
    folder = export_transformers(encoder, tmp_path / "out")
    again = load(folder)
    assert again.head is not None
    assert (again.head.vocabulary, again.head.blank) == (SYMBOLS, 0)
    assert fingerprint(again) == fingerprint(encoder)
    model = transformers.HubertForCTC.from_pretrained(folder).eval()
    waveforms = noise(6_000)
    with torch.no_grad():
        ours = encoder.head(encoder(waveforms)[0][-1])
        theirs = model(waveforms[0][None]).logits
    assert baselines.largest_difference([ours], [theirs]) <= TOLERANCE


def test_half_precision_is_rounded_once(tmp_path: Path) -> None:
    encoder = small_encoder("wavlm", False)
    half = export_transformers(encoder, tmp_path / "half", dtype=torch.float16)
    rounded = load(save(encoder, tmp_path / "ours", dtype=torch.float16))
    assert fingerprint(load(half)) == fingerprint(rounded)


@pytest.mark.parametrize(
    ("method", "settings"),
    [
        ("low_rank", {"sparsity": 0.3}),
        ("clustering", {"form": "share", "sparsity": 0.3}),
        ("magnitude", {"granularity": "weight", "sparsity": 0.3}),
    ],
)
def test_compressed_linears_are_refused_or_made_dense(
    method: str, settings: dict[str, object], tmp_path: Path
) -> None:
    encoder = compress(small_encoder("hubert", False), method, **settings).eval()
    with pytest.raises(InputError, match=r"does not support \d+ .* linears; --dense") as caught:
        export_transformers(encoder, tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())
    folder = export_transformers(encoder, tmp_path / "out", dense=True)
    _agrees_with_transformers(encoder, folder)
    again = load(folder)
    difference = baselines.largest_difference(
        states_of(again, noise(5_000)), states_of(encoder, noise(5_000))
    )
    assert difference <= TOLERANCE
    assert json.loads((folder / "config.json").read_text())["s3prl_compress"]["methods"]


def test_narrow_ffns_of_one_width_are_no_obstacle(tmp_path: Path) -> None:
    shape = small_shape("hubert", False)
    layers = tuple(layer.model_copy(update={"ffn": 13}) for layer in shape.layers)
    encoder = random_encoder(shape.model_copy(update={"layers": layers})).eval()
    _agrees_with_transformers(encoder, export_transformers(encoder, tmp_path / "out"))


@pytest.mark.parametrize(
    ("changes", "message", "added"),
    [
        ({"ffn": 7}, "FFNs of different widths", {"FFN units": 73}),
        ({"ffn": 0}, "FFNs of different widths", {"FFN units": 80}),
        (
            {"heads": (HeadShape(original=1, qk=12, vo=12),)},
            "pruned attention heads",
            {"attention heads": 3},
        ),
        ({"heads": ()}, "pruned attention heads", {"attention heads": 4}),
        (
            {"heads": tuple(HeadShape(original=n, qk=3 * n, vo=12 - n) for n in range(1, 4))},
            "pruned attention heads",
            {"attention heads": 1, "dimensions of heads": 24},
        ),
    ],
    ids=["ffn", "no ffn", "heads", "no heads", "rows of heads"],
)
@pytest.mark.parametrize("family", ["hubert", "wavlm"])
def test_pruned_parts_are_refused_or_filled_with_zeros(
    family: str, changes: dict[str, Any], message: str, added: dict[str, int], tmp_path: Path
) -> None:
    encoder = _changed(family, **changes)
    with pytest.raises(InputError, match=f"transformers does not support {message}; --dense"):
        export_transformers(encoder, tmp_path / "out")
    assert not list(tmp_path.iterdir())
    folder = export_transformers(encoder, tmp_path / "out", dense=True)
    _agrees_with_transformers(encoder, folder, tolerance=1e-5)
    history = json.loads((folder / "config.json").read_text())["s3prl_compress"]
    assert history["filled_with_zeros"] == added
    (note,) = export_notes(encoder)
    assert all(f"{count} {name}" in note for name, count in added.items())


def test_pruned_low_rank_linears_are_filled_too(tmp_path: Path) -> None:
    encoder = compress(_changed(ffn=20), "low_rank", sparsity=0.3).eval()
    folder = export_transformers(encoder, tmp_path / "out", dense=True)
    _agrees_with_transformers(encoder, folder, tolerance=1e-5)
    linears, zeros = export_notes(encoder)
    assert "low_rank linears are written as dense linears" in linears
    assert "60 FFN units" in zeros


def test_heads_wider_than_the_original_ones_are_refused(tmp_path: Path) -> None:
    encoder = _changed(heads=(HeadShape(original=0, qk=20, vo=12),))
    for dense in (False, True):
        with pytest.raises(InputError, match="heads that do not add up to the width"):
            export_transformers(encoder, tmp_path / "out", dense=dense)


def test_weights_that_are_not_those_of_the_shape_are_not_exported(tmp_path: Path) -> None:
    encoder = small_encoder("hubert", False)
    encoder.encoder.layers[0].feed_forward.intermediate_dense = nn.Linear(48, 40)
    with pytest.raises(InputError, match=r"dense.bias has the size \[40\], but the shape says"):
        export_transformers(encoder, tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_another_eps_is_said_and_comes_back(tmp_path: Path) -> None:
    encoder = small_encoder("hubert", True, normalize=True)
    (note,) = export_notes(encoder)
    assert "transformers adds 1e-07 to the variance, and this encoder 1e-05" in note
    assert "3.2 times as loud" in note
    folder = export_transformers(encoder, tmp_path / "out")
    assert load(folder).normalize_eps == encoder.normalize_eps == 1e-5
    encoder.normalize_eps = 1e-7
    assert export_notes(encoder) == ()
    again = load(export_transformers(encoder, tmp_path / "out"))
    assert again.normalize_eps == 1e-7
    assert fingerprint(again) == fingerprint(encoder)


def test_transformers_own_way_from_audio_to_states(tmp_path: Path) -> None:
    """Its extractor and its model (its pipeline "feature-extraction" takes text only)."""
    wave = 1e-3 * noise(8_000)[0]
    encoder = small_encoder("hubert", True, normalize=True)
    encoder.normalize_eps = 1e-7
    folder = export_transformers(encoder, tmp_path / "out")
    extractor = transformers.AutoFeatureExtractor.from_pretrained(folder)
    model: Any = transformers.AutoModel.from_pretrained(folder)
    values = extractor(wave.numpy(), sampling_rate=16_000, return_tensors="pt")
    with torch.no_grad():
        theirs = model.eval()(**values).last_hidden_state
    assert baselines.largest_difference([states_of(encoder, [wave])[-1]], [theirs]) <= TOLERANCE


@pytest.mark.parametrize("blank", ["<pad>", "-"])
def test_transformers_own_way_from_audio_to_text(blank: str, tmp_path: Path) -> None:
    (wave,) = noise(8_000)
    encoder = small_encoder("hubert", True)
    vocabulary = ("A", "|", blank, "Ä")
    encoder.head = CTCHead(encoder.shape.hidden, vocabulary, 2)
    with torch.no_grad():  # so that no symbol is always the best one
        encoder.head.linear.bias -= encoder.head(encoder([wave])[0][-1]).mean((0, 1))
    folder = export_transformers(encoder, tmp_path / "out")
    processor = transformers.AutoProcessor.from_pretrained(folder)
    assert processor.tokenizer.pad_token_id == 2
    with torch.no_grad():
        best = encoder.head(encoder([wave])[0][-1])[0].argmax(-1).tolist()
    assert 2 in best
    text = decode(best, vocabulary, 2)
    assert text.strip()
    recognise: Any = transformers.pipeline(
        "automatic-speech-recognition", str(folder), device="cpu"
    )
    assert recognise(wave.numpy())["text"].split() == text.split()


def test_shapes_of_other_makers(tmp_path: Path) -> None:
    def refused(shape: EncoderShape, message: str) -> None:
        with pytest.raises(InputError, match=message):
            export_transformers(random_encoder(shape), tmp_path / "out")

    shape = small_shape("hubert", False, conv_widths=(48,) * 7)
    refused(shape.model_copy(update={"projection": False}), "without a projection")
    refused(shape.model_copy(update={"feature_scale": True}), "a scale after")


def test_only_an_earlier_export_is_replaced(tmp_path: Path) -> None:
    encoder = small_encoder("hubert", False)
    export_transformers(encoder, tmp_path / "out")
    export_transformers(small_encoder("wavlm", False), tmp_path / "out")
    assert load(tmp_path / "out").shape.family == "wavlm"
    ours = save(encoder, tmp_path / "ours")
    with pytest.raises(InputError, match="not an earlier export"):
        export_transformers(encoder, ours)
    assert fingerprint(load(ours)) == fingerprint(encoder)


def test_the_command(
    bundled_demo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for form in ("transformers", "checkpoint"):
        output = tmp_path / form
        flags = ["--format", form, "--dtype", "float16", "--output", str(output), "--json"]
        assert main(["export", "hubert_demo", *flags]) == 0
        figures = json.loads(capsys.readouterr().out)
        assert figures["bytes"] < 12_000_000
        assert fingerprint(load(output)) == fingerprint(load(bundled_demo))
    assert main(["export", "hubert_demo", "--format", "transformers", "--output", str(output)]) == 2
    assert "not an earlier export" in capsys.readouterr().err
