from __future__ import annotations

import re
import sys
from importlib import metadata
from pathlib import Path

import pytest
import torch

from s3prl_compress.common.errors import InputError
from s3prl_compress.encoder import CTCHead, SpeechEncoder, fingerprint, load, save
from s3prl_compress.methods import MethodConfig, available, compress, register, registry

from ..support.small import reached, small_encoder, speech, states

ONE_OF_EACH = [
    ("magnitude", {}),
    ("magnitude", {"granularity": "weight"}),
    ("clustering", {}),
    ("clustering", {"form": "share"}),
    ("low_rank", {}),
]


@pytest.fixture
def other_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """Install the example of CONTRIBUTING: an entry point that names its module."""
    entry = metadata.EntryPoint(
        "random_units", f"{__package__}.random_units", registry.ENTRY_POINT_GROUP
    )
    sys.modules.pop(entry.value, None)
    monkeypatch.setattr(registry, "_methods", dict(registry._methods))
    give_entry_points(monkeypatch, entry)


def give_entry_points(monkeypatch: pytest.MonkeyPatch, *entries: metadata.EntryPoint) -> None:
    def entry_points(*, group: str) -> tuple[metadata.EntryPoint, ...]:
        return tuple(entry for entry in entries if entry.group == group)

    monkeypatch.setattr(metadata, "entry_points", entry_points)


def test_the_built_in_methods_describe_themselves() -> None:
    methods = available()
    assert {"magnitude", "clustering", "low_rank"} <= set(methods)
    for info in methods.values():
        assert info.learns == (info.needs != "nothing")
        assert info.summary
        assert not info.summary.endswith(".")
        assert info.reference
        assert info.learns or info.defaults().get("sparsity", 0.1) == 0.1


def test_every_setting_says_what_it_is() -> None:
    for info in available().values():
        undescribed = [
            name for name, field in info.config.model_fields.items() if not field.description
        ]
        assert undescribed == []


def test_another_package_adds_a_method_in_one_file(other_package: None) -> None:
    info = available()["random_units"]
    assert info.summary == "Keep a random subset of the FFN units"
    assert info.reference.startswith("Mittal et al.")
    encoder = small_encoder()
    smaller = compress(encoder, "random_units", keep=0.3)
    assert [layer.ffn for layer in smaller.shape.layers] == [3, 3]
    assert smaller.provenance.steps[-1].settings == {"keep": 0.3, "seed": 0}
    assert fingerprint(smaller) == fingerprint(compress(encoder, "random_units", keep=0.3))
    assert fingerprint(smaller) != fingerprint(compress(encoder, "random_units", keep=0.3, seed=1))


def test_the_example_is_one_short_file() -> None:
    lines = (Path(__file__).parent / "random_units.py").read_text(encoding="utf-8").splitlines()
    assert len(lines) < 45


def test_a_broken_package_does_not_take_ours_down(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_failed", {})
    entry = metadata.EntryPoint("broken", "no.such.module", registry.ENTRY_POINT_GROUP)
    give_entry_points(monkeypatch, entry)
    with pytest.warns(UserWarning, match=r"no\.such\.module"):
        assert "clustering" in available()
    with pytest.raises(InputError, match="broken failed to import: ModuleNotFoundError"):
        compress(small_encoder(), "broken")


@pytest.mark.parametrize(
    ("method", "settings", "message"),
    [
        ("clusterin", {}, "no method 'clusterin'; there are: clustering, .*low_rank, magnitude"),
        (
            "clustering",
            {"sparsty": 0.1},
            "clustering: sparsty: no such setting; there are sp",
        ),
        ("clustering", {"sparsity": 1.5}, "method clustering: sparsity: must be less .*; got 1.5"),
        ("clustering", {"form": "both"}, "form: must be 'fold' or 'share'; got 'both'"),
        ("clustering", {"form": "share", "units": "ffn"}, "units and multiple go with form 'fold'"),
        (
            "magnitude",
            {"units": "ffn,layer"},
            "units.*: must be .*'vo'.*; got 'layer'",
        ),
        ("magnitude", {"units": ""}, "method magnitude: units.*: must be"),
        ("low_rank", {"linears": ["q", "q"]}, "each only once"),
        ("low_rank", {"audio": "no/such/folder"}, "no/such/folder: no such folder"),
        (
            "magnitude",
            {"granularity": "weight", "units": "conv"},
            "magnitude: units and multiple go with gran",
        ),
        (
            "magnitude",
            {"granularity": "weight", "sparsity": 0.99},
            "cannot be reached .* at most 0",
        ),
        ("magnitude", {"sparsity": 0.99}, "0.99 cannot be reached on this model.* at most 0"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(method: str, settings: dict, message: str) -> None:
    with pytest.raises(InputError, match=message) as raised:
        compress(small_encoder(), method, **settings)
    assert "\n" not in str(raised.value)


def test_a_method_that_returns_its_input_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_methods", dict(registry._methods))

    @register("nothing")
    def nothing(encoder: SpeechEncoder, config: MethodConfig) -> SpeechEncoder:
        return encoder

    encoder = small_encoder()
    result = compress(encoder, "nothing")
    assert encoder.provenance.steps == ()
    assert [step.method for step in result.provenance.steps] == ["nothing"]
    assert fingerprint(result) == fingerprint(encoder)


def test_a_name_is_taken_once_and_a_method_has_its_form(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_methods", dict(registry._methods))
    available()

    def other(encoder: SpeechEncoder, config: MethodConfig) -> SpeechEncoder:
        return encoder

    def formless(encoder: SpeechEncoder) -> SpeechEncoder:
        return encoder

    with pytest.raises(ValueError, match="clustering is already registered"):
        register("clustering")(other)
    with pytest.raises(ValueError, match="annotated with a subclass of MethodConfig"):
        register("formless")(formless)
    with pytest.raises(ValueError, match="is none of"):
        register("other", needs="luck")  # type: ignore[arg-type]


def test_a_method_s_version_is_kept_in_the_history(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(registry, "_methods", dict(registry._methods))

    @register("versioned", version=3)
    def versioned(encoder: SpeechEncoder, config: MethodConfig) -> SpeechEncoder:
        return encoder

    assert available()["versioned"].version == 3
    assert available()["clustering"].version == 1
    both = compress(compress(small_encoder(), "versioned"), "clustering")
    folder = save(both, tmp_path / "both")
    assert [step.method_version for step in load(folder).provenance.steps] == [3, 1]

    path = folder / "config.json"
    older = path.read_text(encoding="utf-8")
    assert older.count('"method_version"') == 2
    path.write_text(re.sub(r'"method_version": \d+,', "", older), encoding="utf-8")
    assert [step.method_version for step in load(folder).provenance.steps] == [1, 1]

    with pytest.raises(ValueError, match="version 0 must be 1 or more"):
        register("versionless", version=0)


@pytest.mark.parametrize(("method", "settings"), ONE_OF_EACH)
@pytest.mark.parametrize("family", ["hubert", "wavlm"])
def test_what_every_method_keeps(method: str, settings: dict, family: str) -> None:
    encoder = small_encoder(family)  # type: ignore[arg-type]
    encoder.normalize, encoder.padding = True, "fairseq"
    encoder.head = CTCHead(24, ("-", "a", "b"), blank=0)
    before, history = fingerprint(encoder), encoder.provenance
    smaller = compress(encoder, method, **settings)
    assert fingerprint(encoder) == before
    assert encoder.provenance == history
    assert fingerprint(smaller) != before
    assert (smaller.normalize, smaller.padding) == (True, "fairseq")
    assert smaller.shape.family == family
    assert smaller.head is not None
    assert smaller.head is not encoder.head
    assert smaller.head.vocabulary == ("-", "a", "b")
    assert torch.equal(smaller.head.linear.weight, encoder.head.linear.weight)
    step = smaller.provenance.steps[-1]
    assert step.method == method
    assert set(step.settings) == set(available()[method].config.model_fields)
    addresses = {tensor.data_ptr() for tensor in encoder.state_dict().values()}
    assert addresses.isdisjoint(t.data_ptr() for t in smaller.state_dict().values() if t.numel())


@pytest.mark.parametrize(("method", "settings"), ONE_OF_EACH)
def test_the_same_settings_give_the_same_encoder(method: str, settings: dict) -> None:
    encoder = small_encoder()
    twice = [fingerprint(compress(encoder, method, **settings)) for _ in range(2)]
    assert twice[0] == twice[1]


@pytest.mark.parametrize(("method", "settings"), ONE_OF_EACH)
def test_every_result_survives_a_checkpoint_folder(
    method: str, settings: dict, tmp_path: Path
) -> None:
    smaller = compress(small_encoder("wavlm"), method, sparsity=0.2, **settings)
    again = load(save(smaller, tmp_path / "smaller"))
    assert fingerprint(again) == fingerprint(smaller)
    assert again.provenance == smaller.provenance


# Folding fills sparse and shared matrices up again, and single weights of two factors or of shared
# rows are not pruned: where nothing else is left to act on, these say so.
REFUSED = {(1, 2), (3, 1), (3, 2), (4, 1)}


@pytest.mark.parametrize("first", range(len(ONE_OF_EACH)))
@pytest.mark.parametrize("second", range(len(ONE_OF_EACH)))
def test_methods_follow_one_another(first: int, second: int) -> None:
    encoder = small_encoder("wavlm", layer_norm=True)
    method, settings = ONE_OF_EACH[first]
    once = compress(encoder, method, sparsity=0.08, **settings)
    method, settings = ONE_OF_EACH[second]
    if (first, second) in REFUSED:
        with pytest.raises(InputError, match=f"method {method}: .* at most"):
            compress(once, method, sparsity=0.08, **settings)
        return
    twice = compress(once, method, sparsity=0.08, **settings)
    assert abs(reached(twice, once) - 0.08) <= 0.01
    assert [step.method for step in twice.provenance.steps] == [ONE_OF_EACH[first][0], method]
    for utterance in states(twice, speech(2000, 3000)):
        assert all(torch.isfinite(state).all() for state in utterance)


def test_a_method_that_has_nothing_left_says_so() -> None:
    factored = compress(small_encoder(), "low_rank", sparsity=0.5)
    with pytest.raises(InputError, match=r"method low_rank: .* at most"):
        compress(factored, "low_rank", sparsity=0.5)
