"""Exported models compute what PyTorch and transformers compute, whatever they are batched with."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
import transformers
from torch import Tensor

from s3prl_compress.common.errors import InputError
from s3prl_compress.encoder import SpeechEncoder, cost, load, load_unless_loaded
from s3prl_compress.encoder.exported import EncoderGraph, ExportedEncoder, load_exported
from s3prl_compress.encoder.exported.runtimes import OnnxSession
from s3prl_compress.encoder.exporters import ExportOptions, Speech, find_export_target
from s3prl_compress.encoder.exporters.transformers import export_transformers
from s3prl_compress.methods import compress

from ...support.baselines import baselines, noise
from .models import SYMBOLS, odd_encoder, tuned_encoder

onnx = pytest.importorskip("onnx", reason="the extra onnx is not installed")
pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
pytest.importorskip("onnxscript", reason="the extra onnx is not installed")

TOLERANCE = 1e-4
BATCHES = ((4000,), (9000, 3000), (7000, 720, 5000))

Pair = tuple[SpeechEncoder, ExportedEncoder]


def speech() -> Speech:
    return Speech(noise(9000, 12_000), "noise")


def exported_as(format: str, encoder: SpeechEncoder, path: Path, **options: Any) -> ExportedEncoder:
    find_export_target(format).write(encoder, path, ExportOptions(speech=speech(), **options))
    return load_exported(path)


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    encoder = odd_encoder()
    return encoder, exported_as("onnx", encoder, tmp_path_factory.mktemp("odd") / "odd.onnx")


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    encoder = tuned_encoder()
    return encoder, exported_as("onnx", encoder, tmp_path_factory.mktemp("tuned") / "tuned.onnx")


def assert_close(ours: Tensor, theirs: Tensor, tolerance: float = TOLERANCE) -> None:
    assert ours.shape == theirs.shape
    assert float((ours - theirs).norm() / theirs.norm()) <= tolerance


@torch.no_grad()
def assert_equal_states(
    encoder: SpeechEncoder, exported: ExportedEncoder, tolerance: float = TOLERANCE
) -> None:
    for lengths in BATCHES:
        waveforms = noise(*lengths)
        theirs, counts = encoder(waveforms)
        ours, own_counts = exported(waveforms)
        assert own_counts.tolist() == counts.tolist()
        for one, other in zip(ours, theirs, strict=True):
            assert one.shape == other.shape
            for row, count in enumerate(counts.tolist()):
                assert_close(one[row, :count], other[row, :count], tolerance)


def test_every_shape_gives_its_states(odd: Pair) -> None:
    assert_equal_states(*odd)


def test_features_do_not_depend_on_the_batch(odd: Pair) -> None:
    _, exported = odd
    waveforms = noise(7000, 4000, 9000)
    together, counts = exported(waveforms)
    for number, waveform in enumerate(waveforms):
        alone, _ = exported([waveform])
        for one, other in zip(together, alone, strict=True):
            assert_close(one[number, : counts[number]], other[0])


def test_samples_after_an_utterance_have_no_effect(odd: Pair) -> None:
    _, exported = odd
    session = OnnxSession(exported.path, threads=1)
    lengths = np.array([9000, 4000])
    waveforms = np.zeros((2, 9000), dtype=np.float32)
    for row, waveform in zip(waveforms, noise(*lengths), strict=True):
        row[: len(waveform)] = waveform.numpy()
    clean = session.run(waveforms, lengths)
    waveforms[1, 4000:] = np.inf
    dirty = session.run(waveforms, lengths)
    for name in clean:
        valid = slice(None, int(clean["frames"][1]))
        own = [
            outputs[name][1] if name == "frames" else outputs[name][1, valid]
            for outputs in (clean, dirty)
        ]
        np.testing.assert_allclose(own[0], own[1], rtol=1e-5, atol=1e-6)


def test_transformers_computes_the_same(tuned: Pair, tmp_path: Path) -> None:
    encoder, exported = tuned
    folder = export_transformers(encoder, tmp_path / "folder")
    model = transformers.AutoModelForCTC.from_pretrained(folder).eval()
    (waveform,) = noise(6000)
    values = torch.nn.functional.layer_norm(waveform, waveform.shape)
    ours, _ = exported([waveform])
    for one, other in zip(ours, baselines.transformers_states(model.wav2vec2, values), strict=True):
        assert_close(one, other)
    with torch.no_grad():
        logits = model(values[None]).logits
    log_probs, counts = exported.log_probs([waveform])
    assert counts.tolist() == [logits.shape[1]]
    assert_close(log_probs, logits.log_softmax(-1))
    assert exported.head is not None
    assert (exported.head.vocabulary, exported.head.blank) == (SYMBOLS, 0)


def test_short_waveforms(tuned: Pair) -> None:
    encoder, exported = (copy.deepcopy(one) for one in tuned)
    fewest = encoder.shape.minimum_samples
    assert_close(exported(noise(fewest))[0][-1], encoder(noise(fewest))[0][-1].detach())
    with pytest.raises(InputError, match=f"has 100 samples; one frame needs {fewest}$"):
        exported(noise(100))
    encoder.pad_short = exported.pad_short = True
    for waveforms in (noise(100), noise(3000, 100)):
        (theirs, counts), (ours, own_counts) = encoder(waveforms), exported(waveforms)
        assert own_counts.tolist() == counts.tolist()
        assert_close(ours[-1][-1, :1], theirs[-1][-1, :1].detach())


def test_int8_is_measured_and_smaller(tuned: Pair, tmp_path: Path) -> None:
    encoder, exported = tuned
    int8 = exported_as("onnx", encoder, tmp_path / "int8.onnx", dtype="int8")
    error, full = int8.config.error, exported.config.error
    assert error is not None
    assert full is not None
    assert 1e-3 < error.mean < 0.05 == error.limit
    assert full.mean < 1e-5
    # The first state precedes the layers, in which alone products are quantised.
    assert error.states[0] < 1e-5
    assert len(error.states) == len(encoder.shape.layers) + 1
    assert_equal_states(encoder, int8, tolerance=0.1)
    model = onnx.load(int8.path)
    quantised = [node for node in model.graph.node if node.op_type == "MatMulInteger"]
    assert len(quantised) == 6 * len(encoder.shape.layers)
    assert all(not node.metadata_props for node in model.graph.node)  # no paths of this machine
    sizes = [one.describe("").cost for one in (int8, exported)]
    assert sizes[0] is not None
    assert sizes[1] is not None
    assert sizes[0].bytes < sizes[1].bytes


def test_above_the_limit_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"not written: in int8 .* above the limit of 1e-06"):
        exported_as("onnx", tuned_encoder(), tmp_path / "a.onnx", dtype="int8", error_limit=1e-6)
    assert not list(tmp_path.iterdir())


def test_its_entry_in_records(tuned: Pair) -> None:
    encoder, exported = tuned
    entry, counted = exported.describe("tuned"), cost(encoder)
    assert entry.cost is not None
    assert entry.runtime is not None
    assert entry.cost.parameters == counted.parameters
    assert entry.cost.bytes == exported.path.stat().st_size
    assert entry.methods == ("onnxruntime(dtype=float32)",)
    assert (entry.runtime.name, entry.runtime.dtype) == ("onnxruntime", "float32")
    assert entry.normalize
    assert exported.config.shape == encoder.shape


def test_the_last_state_alone(tuned: Pair, tmp_path: Path) -> None:
    encoder = copy.deepcopy(tuned[0])
    encoder.head = None
    last = exported_as("onnx", encoder, tmp_path / "last.onnx", states="last")
    waveforms = noise(5000, 3000)
    ours, _ = last(waveforms)
    assert len(ours) == 1 == len(last.shape.layers) + 1
    assert_close(ours[0][0], encoder(waveforms)[0][-1][0].detach())
    with pytest.raises(InputError, match="has no CTC head"):
        last.log_probs(waveforms)


def test_small_groups_of_the_position_convolution_are_merged() -> None:
    encoder = odd_encoder()
    graph = EncoderGraph(encoder, channels_per_group=10)
    assert graph.transformer.pos_conv_embed is not None
    assert graph.transformer.pos_conv_embed.conv.groups == 4  # of 16, with 3 channels each
    waveforms = noise(5000, 3000)
    lengths = torch.tensor([5000, 3000])
    with torch.no_grad():
        ours = graph(torch.nn.utils.rnn.pad_sequence(waveforms, batch_first=True), lengths)
        theirs, counts = encoder(waveforms)
    assert ours[len(theirs)].tolist() == counts.tolist()
    for one, other in zip(ours, theirs, strict=False):
        for row, count in enumerate(counts.tolist()):
            assert_close(one[row, :count], other[row, :count], 1e-5)


def test_copies_and_other_thread_counts_compute_the_same(tuned: Pair) -> None:
    _, exported = tuned
    waveforms = noise(4000)
    expected = exported(waveforms)[0][-1]
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(before + 1)
        assert_close(exported(waveforms)[0][-1], expected, 1e-5)
    finally:
        torch.set_num_threads(before)
    assert_close(copy.deepcopy(exported)(waveforms)[0][-1], expected, 1e-5)


def test_it_can_be_evaluated_only(tuned: Pair) -> None:
    _, exported = tuned
    with pytest.raises(InputError, match=r"an exported model, which can be scored, timed and insp"):
        load(exported.path)
    again = load_unless_loaded(exported.path)
    assert again.fingerprint() == exported.fingerprint()  # type: ignore[operator]
    with pytest.raises(InputError, match="padding fairseq: an exported model has independent"):
        load_unless_loaded(exported.path, padding="fairseq")
    with pytest.raises(InputError, match="normalises waveforms, as it was exported"):
        load_unless_loaded(exported.path, normalize=False)


def test_other_programs_files_are_refused(tmp_path: Path) -> None:
    from onnx import helper

    value = helper.make_tensor_value_info("x", 1, [1])
    node = helper.make_node("Identity", ["x"], ["y"])
    graph = helper.make_graph([node], "g", [value], [helper.make_tensor_value_info("y", 1, [1])])
    path = tmp_path / "theirs.onnx"
    opsets = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), path)
    content = path.read_bytes()
    with pytest.raises(InputError, match=r"theirs.onnx: not an export of s3prl_compress"):
        load_unless_loaded(path)
    with pytest.raises(InputError, match=r"exists and is not an earlier export"):
        find_export_target("onnx").check_output(path)
    assert path.read_bytes() == content
    path.write_bytes(b"no model")
    with pytest.raises(InputError, match=r"theirs.onnx: ONNX Runtime cannot load it"):
        load_unless_loaded(path)


def test_damaged_metadata_and_a_graph_that_fails_are_one_line(tuned: Pair, tmp_path: Path) -> None:
    content, path = tuned[1].path.read_bytes(), tmp_path / "damaged.onnx"
    assert content.count(b'{"format_version"') == 1
    path.write_bytes(content.replace(b'{"format_version"', b'{"\xfformat_version"'))
    with pytest.raises(InputError, match=r"damaged.onnx: ONNX Runtime cannot load it .*utf-8"):
        load_unless_loaded(path)
    session = OnnxSession(tuned[1].path, 1)
    with pytest.raises(InputError, match=r"\.onnx: ONNX Runtime cannot run it"):
        session.run(np.zeros((1, 9000, 2), np.float32), np.array([9000]))


def test_outputs_and_types_that_a_format_does_not_have(tuned: Pair, tmp_path: Path) -> None:
    target = find_export_target("onnx")
    target.check_output(tuned[1].path)  # an earlier export
    with pytest.raises(InputError, match=r"the format onnx is one file; give a name in \.onnx$"):
        target.check_output(tmp_path / "folder")
    with pytest.raises(InputError, match="dtype bfloat16: ONNX Runtime has no such arithmetic"):
        target.check_dtype("bfloat16")
    with pytest.raises(InputError, match="dtype float16: openvino is written as float32 or bf"):
        find_export_target("openvino").check_dtype("float16")
    with pytest.raises(InputError, match="dtype int8: checkpoint is written as float32 or float16"):
        find_export_target("checkpoint").check_dtype("int8")


@pytest.mark.parametrize("states", ["all", "last"])
def test_states_of_removed_layers_are_exported(
    tmp_path: Path, odd: Pair, states: Literal["all", "last"]
) -> None:
    encoder = compress(
        odd[0], "layers", keep=len(odd[0].shape.layers) - 1, repeat_states=True
    ).eval()
    assert encoder.shape.states == odd[0].shape.states == len(encoder.shape.layers) + 2
    exported = exported_as("onnx", encoder, tmp_path / "short.onnx", states=states)
    waveforms = noise(9000, 3000)
    theirs, counts = encoder(waveforms)
    ours, _ = exported(waveforms)
    wanted = theirs if states == "all" else theirs[-1:]
    assert len(ours) == exported.shape.states == len(wanted)
    for one, other in zip(ours, wanted, strict=True):
        for row, count in enumerate(counts.tolist()):
            assert_close(one[row, :count], other[row, :count])
