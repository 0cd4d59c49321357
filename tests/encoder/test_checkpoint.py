from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn.utils import prune

from s3prl_compress.common.errors import InputError
from s3prl_compress.encoder import (
    NAMED_SHAPES,
    CTCHead,
    HeadShape,
    LayerShape,
    LinearShape,
    MethodStep,
    SpeechEncoder,
    fingerprint,
    load,
    normalization_note,
    random_encoder,
    save,
)
from s3prl_compress.encoder.checkpoint import read_config
from s3prl_compress.encoder.linear import SharedLinear, SparseLinear
from s3prl_compress.methods import compress

TINY = NAMED_SHAPES["hubert_tiny"]
WEIGHT = "encoder.layers.1.feed_forward.output_dense.weight"


def mixed() -> SpeechEncoder:
    """One encoder with every kind of linear, unequal heads, and a CTC head."""
    layer = LayerShape(
        heads=(HeadShape(original=0, qk=3, vo=8), HeadShape(original=2, qk=5, vo=2)),
        ffn=20,
        v=LinearShape(kind="low_rank", rank=2),
        out=LinearShape(kind="shared", centroids=3),
        fc1=LinearShape(kind="sparse", nonzeros=11),
    )
    shape = TINY.model_copy(update={"layers": (layer, TINY.layers[1])})
    encoder = random_encoder(shape, normalize=True)
    for module in encoder.modules():
        if isinstance(module, SharedLinear):
            module.assignment.copy_(torch.arange(len(module.assignment)) % 3)
            torch.nn.init.normal_(module.centroids)
        elif isinstance(module, SparseLinear):
            dense = torch.zeros(20, 32)
            dense.view(-1)[torch.randperm(640)[:11]] = 1.5
            layer_one = encoder.encoder.layers[0].feed_forward
            layer_one.intermediate_dense = SparseLinear.from_dense(dense, torch.ones(20))
    encoder.head = CTCHead(32, ("<pad>", "A", "B"), 0)
    step = MethodStep(method="by_hand", settings={"a": 1}, version="0", git_commit=None, date="now")
    encoder.provenance = encoder.provenance.after(step)
    return encoder


def test_everything_comes_back(tmp_path: Path) -> None:
    encoder = mixed()
    folder = save(encoder, tmp_path / "model")
    assert sorted(path.name for path in tmp_path.rglob("*")) == [
        "config.json",
        "model",
        "model.safetensors",
        "modeling_s3prl_compress.py",
        "preprocessor_config.json",
        "tokenizer_config.json",
        "vocab.json",
    ]
    again = load(folder)
    assert again.shape == encoder.shape
    assert again.provenance == encoder.provenance
    assert again.normalize
    assert fingerprint(again) == fingerprint(encoder)
    assert again.head is not None
    assert again.head.vocabulary == ("<pad>", "A", "B")
    waveforms = [torch.randn(4000), torch.randn(2000)]
    with torch.no_grad():
        for one, other in zip(encoder(waveforms)[0], again(waveforms)[0], strict=True):
            assert torch.equal(one, other)


def test_a_checkpoint_may_be_replaced_and_nothing_else(tmp_path: Path) -> None:
    save(random_encoder(TINY, seed=0), tmp_path / "model")
    save(random_encoder(TINY, seed=1), tmp_path / "model")
    assert fingerprint(load(tmp_path / "model")) == fingerprint(random_encoder(TINY, seed=1))
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    thesis = tmp_path / "thesis"
    thesis.mkdir()
    (thesis / "chapter1.tex").write_text("...")
    with pytest.raises(InputError, match="not a checkpoint of s3prl_compress"):
        save(random_encoder(TINY), thesis)
    assert [path.name for path in thesis.iterdir()] == ["chapter1.tex"]


def test_a_failed_write_leaves_the_old_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(random_encoder(TINY, seed=0), tmp_path / "model")

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("s3prl_compress.encoder.checkpoint.save_file", full)
    with pytest.raises(
        InputError, match=r"model: cannot be written \(No space left on device\); make room"
    ):
        save(random_encoder(TINY, seed=1), tmp_path / "model")
    assert fingerprint(load(tmp_path / "model")) == fingerprint(random_encoder(TINY, seed=0))
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def edit_config(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    data = json.loads((folder / "config.json").read_text())
    change(data)
    (folder / "config.json").write_text(json.dumps(data))


def edit_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    state = load_file(folder / "model.safetensors")
    change(state)
    save_file(state, folder / "model.safetensors")


def truncate(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def poison(value: float) -> Callable[[dict[str, torch.Tensor]], None]:
    def change(state: dict[str, torch.Tensor]) -> None:
        state[WEIGHT].view(-1)[3] = value

    return change


DAMAGE: dict[str, tuple[Callable[[Path], Any], str]] = {
    "truncated": (truncate, "model.safetensors"),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), "model.safetensors"),
    "no safetensors": (lambda f: (f / "model.safetensors").write_text("hello"), "safetensors"),
    "too many": (
        lambda f: edit_weights(f, lambda s: s.update(stranger=torch.ones(2))),
        "tensor stranger does not belong",
    ),
    "missing": (lambda f: edit_weights(f, lambda s: s.pop(WEIGHT)), f"tensor {WEIGHT} is missing"),
    "misshapen": (
        lambda f: edit_weights(f, lambda s: s.update({WEIGHT: torch.ones(3, 3)})),
        rf"tensor {WEIGHT} has the size \[3, 3\]",
    ),
    "integers": (
        lambda f: edit_weights(f, lambda s: s.update({WEIGHT: s[WEIGHT].long()})),
        f"tensor {WEIGHT} is torch.int64",
    ),
    "nan": (lambda f: edit_weights(f, poison(math.nan)), f"tensor {WEIGHT} holds NaN"),
    "infinite": (lambda f: edit_weights(f, poison(math.inf)), f"tensor {WEIGHT} holds NaN or inf"),
    "a lying shape": (
        lambda f: edit_config(f, lambda c: c["shape"]["layers"][1].update(ffn=7)),
        "the shape says",
    ),
    "an impossible shape": (
        lambda f: edit_config(f, lambda c: c["shape"].update(hidden=0)),
        "shape.hidden",
    ),
    "a blank outside the vocabulary": (
        lambda f: edit_config(f, lambda c: c.update(head={"vocabulary": ["a"], "blank": 7})),
        "blank 7 is outside the vocabulary of 1",
    ),
    "a later format": (lambda f: edit_config(f, lambda c: c.update(format_version=9)), "version 9"),
    "an unknown key": (lambda f: edit_config(f, lambda c: c.update(extra=1)), "extra"),
    "an assignment out of range": (
        lambda f: edit_weights(
            f, lambda s: s["encoder.layers.0.attention.out_proj.assignment"].fill_(3)
        ),
        "out_proj.assignment points to centroid 3 of 3",
    ),
    "a wrong bit mask": (
        lambda f: edit_weights(
            f, lambda s: s["encoder.layers.0.feed_forward.intermediate_dense.bitmask"].fill_(255)
        ),
        "bitmask marks 640 weights, but 11 are stored",
    ),
}


@pytest.mark.parametrize("damage", sorted(DAMAGE))
def test_damage_is_one_line_that_names_the_culprit(damage: str, tmp_path: Path) -> None:
    folder = save(mixed(), tmp_path / "model")
    break_it, message = DAMAGE[damage]
    break_it(folder)
    with pytest.raises(InputError, match=message) as caught:
        load(folder)
    assert "\n" not in str(caught.value)
    assert str(folder) in str(caught.value)


def test_a_configuration_that_is_nested_too_deeply_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("[" * 100_000 + "]" * 100_000)
    with pytest.raises(InputError, match=r"config\.json cannot be read as JSON: nested too deeply"):
        load(tmp_path)
    with pytest.raises(InputError, match=r"config\.json: not JSON \(nested too deeply\)"):
        read_config(tmp_path)


def test_a_name_that_cannot_be_that_of_a_file_is_one_line() -> None:
    with pytest.raises(InputError, match="no such file or folder"):
        load("x" * 5_000)


def test_a_folder_of_something_else_is_named(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("...")
    with pytest.raises(InputError, match=str(tmp_path)) as caught:
        load(tmp_path)
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="padding"):
        load(tmp_path, padding="zeros")  # type: ignore[arg-type]


def test_no_pickle_is_written(tmp_path: Path) -> None:
    folder = save(mixed(), tmp_path / "model")
    for path in folder.iterdir():
        assert path.read_bytes()[:2] not in (b"PK", b"\x80\x02"), path


def test_the_fingerprint_is_of_shape_flag_and_weights() -> None:
    encoder = random_encoder(TINY)
    same = fingerprint(encoder)
    encoder.provenance = mixed().provenance
    encoder.padding = "fairseq"
    assert fingerprint(encoder) == same
    assert fingerprint(random_encoder(TINY, normalize=True)) != same
    with torch.no_grad():
        encoder.get_parameter(WEIGHT).view(-1)[0] += 1e-3
    assert fingerprint(encoder) != same
    encoder = random_encoder(TINY, normalize=True)
    normalised = fingerprint(encoder)
    encoder.normalize_eps = 1e-7
    assert fingerprint(encoder) != normalised


def test_how_waveforms_are_normalised_comes_back(tmp_path: Path) -> None:
    encoder = random_encoder(TINY, normalize=True)
    encoder.normalize_eps = 1e-7
    folder = save(encoder, tmp_path / "model")
    assert load(folder).normalize_eps == 1e-7
    assert load(folder, normalize=False).normalize is False
    assert fingerprint(load(folder, normalize=False)) != fingerprint(load(folder))
    # Folders from before the key was there.
    edit_config(folder, lambda config: config.pop("normalize_eps"))
    assert load(folder).normalize_eps == 1e-5
    smaller = compress(encoder, "magnitude", granularity="channel", sparsity=0.2)
    assert (smaller.normalize, smaller.normalize_eps) == (True, 1e-7)


def test_base_models_that_normalise_get_a_note() -> None:
    encoder = random_encoder(TINY, normalize=True)
    assert "SUPERB's published scores (--normalize no)" in str(normalization_note(encoder))
    encoder.normalize = False
    assert normalization_note(encoder) is None
    large = TINY.model_copy(update={"conv_norm": "layer"})
    assert normalization_note(random_encoder(large, normalize=True)) is None


def cut_units(encoder: SpeechEncoder) -> None:
    """What surgery by another package leaves: smaller weights, the shape as it was."""
    layer = encoder.encoder.layers[1].feed_forward
    layer.intermediate_dense = torch.nn.Linear(32, 40)
    layer.output_dense = torch.nn.Linear(40, 32)


FOREIGN_CHANGES: dict[str, tuple[Callable[[SpeechEncoder], Any], str]] = {
    "surgery": (
        cut_units,
        r"layers.1.feed_forward.intermediate_dense.bias has the size \[40\], "
        r"but the shape says \[48\] "
        r"\(and 2 more\); after changing the sizes of weights, update `encoder.shape` to match",
    ),
    "a mask": (
        lambda encoder: prune.l1_unstructured(
            encoder.encoder.layers[1].feed_forward.output_dense, "weight", 0.5
        ),
        "output_dense.weight is missing",
    ),
    "nan": (
        lambda encoder: encoder.get_parameter(WEIGHT).data[0].fill_(math.nan),
        f"tensor {WEIGHT} holds NaN",
    ),
    "an assignment out of range": (
        lambda encoder: encoder.get_buffer("encoder.layers.0.attention.out_proj.assignment").fill_(
            3
        ),
        "points to centroid 3 of 3",
    ),
}


@pytest.mark.parametrize("change", sorted(FOREIGN_CHANGES))
def test_what_load_would_refuse_is_not_written_over_a_good_checkpoint(
    change: str, tmp_path: Path
) -> None:
    encoder = mixed()
    folder = save(encoder, tmp_path / "model")
    before = fingerprint(load(folder))
    change_it, message = FOREIGN_CHANGES[change]
    change_it(encoder)
    for target in (folder, tmp_path / "new"):
        with pytest.raises(InputError, match=message) as caught:
            save(encoder, target)
        assert "\n" not in str(caught.value)
        assert f"{target}: not written: tensor" in str(caught.value)
    assert fingerprint(load(folder)) == before
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_what_torch_pruning_cut_is_saved_once_the_shape_says_so(tmp_path: Path) -> None:
    pruning = pytest.importorskip("torch_pruning")
    encoder = random_encoder(TINY).eval()
    example = [torch.randn(4000)]
    graph = pruning.DependencyGraph().build_dependency(
        encoder, example_inputs={"waveforms": example}
    )
    for layer in encoder.encoder.layers:
        group = graph.get_pruning_group(
            layer.feed_forward.intermediate_dense, pruning.prune_linear_out_channels, list(range(8))
        )
        group.prune()
    with pytest.raises(InputError, match=r"size \[40\], but the shape says \[48\]"):
        save(encoder, tmp_path / "model")
    layers = tuple(layer.model_copy(update={"ffn": 40}) for layer in encoder.shape.layers)
    encoder.shape = encoder.shape.model_copy(update={"layers": layers})
    again = load(save(encoder, tmp_path / "model"))
    with torch.no_grad():
        assert torch.equal(again(example)[0][-1], encoder(example)[0][-1])
