from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import scipy.linalg
import scipy.optimize
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from s3prl_compress.encoder import NAMED_SHAPES, SpeechEncoder, macs, random_encoder
from s3prl_compress.encoder.cost import nonzero_parameters
from s3prl_compress.encoder.linear import dense_bias, dense_weight
from s3prl_compress.encoder.shape import LINEARS
from s3prl_compress.methods import compress
from s3prl_compress.methods.low_rank.activations import second_moments
from s3prl_compress.methods.low_rank.method import spectrum, truncate
from s3prl_compress.surgery.rebuild import get_linear

from ...support.small import assert_same, reached, small_encoder, speech


@pytest.fixture(scope="module")
def tiny() -> SpeechEncoder:
    return random_encoder(NAMED_SHAPES["hubert_tiny"])


@pytest.fixture(scope="module")
def noise_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("noise")
    for number, waveform in enumerate(speech(8000, 12_000)):
        soundfile.write(folder / f"{number}.wav", 0.1 * waveform.numpy(), 16_000)
    return folder


@pytest.mark.parametrize("sparsity", [0.03, 0.1, 0.3, 0.55])
@pytest.mark.parametrize("allocation", ["energy", "uniform"])
def test_targets_are_met(tiny: SpeechEncoder, allocation: str, sparsity: float) -> None:
    smaller = compress(tiny, "low_rank", allocation=allocation, sparsity=sparsity)
    assert abs(reached(smaller, tiny) - sparsity) <= 0.01
    assert macs(smaller.shape, [16_000]) < macs(tiny.shape, [16_000])


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 12), st.integers(2, 12), st.data())
def test_truncation_is_numpys_svd(outputs: int, inputs: int, data: st.DataObject) -> None:
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 99)))
    weight = torch.randn(outputs, inputs, generator=generator)
    rank = data.draw(st.integers(1, min(outputs, inputs)))
    own = spectrum(weight, None)
    values = np.linalg.svd(weight.double().numpy(), compute_uv=False)
    assert own.values == pytest.approx(values, rel=1e-5, abs=1e-6)
    factor_in, factor_out = truncate(weight, own, rank)
    assert factor_in.shape == (rank, inputs)
    assert factor_out.shape == (outputs, rank)
    error = np.linalg.norm((weight - factor_out @ factor_in).numpy())
    # Eckart and Young: what is lost are the singular values that went.
    assert error == pytest.approx(np.sqrt(np.square(values[rank:]).sum()), rel=1e-4, abs=1e-5)


@pytest.mark.parametrize(("outputs", "inputs"), [(5, 8), (8, 5)])
def test_no_factors_have_a_smaller_output_error(outputs: int, inputs: int) -> None:
    """Against brute force: gradient descent from many starts over all factors of that rank."""
    generator = np.random.default_rng(0)
    weight = generator.normal(size=(outputs, inputs))
    mixing = generator.normal(size=(inputs, inputs)) * np.geomspace(3, 0.1, inputs)
    activations = mixing @ generator.normal(size=(inputs, 200))
    moment = torch.from_numpy(activations @ activations.T / 200).float()

    def error(approximation: np.ndarray) -> float:
        return float(np.square((weight - approximation) @ activations).sum())

    tensor = torch.from_numpy(weight).float()
    factor_in, factor_out = truncate(tensor, spectrum(tensor, moment, 1e-9), 2)
    ours = error((factor_out @ factor_in).double().numpy())
    plain_in, plain_out = truncate(tensor, spectrum(tensor, None), 2)
    assert ours < 0.9 * error((plain_out @ plain_in).double().numpy())

    def objective(flat: np.ndarray) -> float:
        left, right = np.split(flat, [outputs * 2])
        return error(left.reshape(outputs, 2) @ right.reshape(2, inputs))

    best = min(
        scipy.optimize.minimize(objective, generator.normal(size=2 * (outputs + inputs))).fun
        for _ in range(5)
    )
    assert ours <= 1.001 * best


@pytest.mark.parametrize(("outputs", "inputs"), [(5, 8), (8, 5)])
def test_weighted_singular_values_are_those_of_the_whitened_matrix(
    outputs: int, inputs: int
) -> None:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(outputs, inputs, generator=generator)
    x = torch.randn(100, inputs, generator=generator) * torch.linspace(0.1, 3, inputs)
    moment = x.t() @ x / 100
    root = scipy.linalg.cholesky(moment.double().numpy(), lower=True)
    expected = np.linalg.svd(weight.double().numpy() @ root, compute_uv=False)
    assert spectrum(weight, moment, 1e-9).values == pytest.approx(expected, rel=1e-4)


def test_full_rank_is_the_same_function_and_pays_nowhere() -> None:
    encoder = small_encoder()
    for name in LINEARS:
        weight = dense_weight(get_linear(encoder, 0, name)).detach()
        factor_in, factor_out = truncate(weight, spectrum(weight, None), min(weight.shape))
        assert torch.allclose(factor_out @ factor_in, weight, atol=1e-5)


def test_a_linear_is_factored_only_where_that_pays(tiny: SpeechEncoder) -> None:
    smaller = compress(tiny, "low_rank", sparsity=0.2)
    kinds = set()
    for layer in smaller.shape.layers:
        for name in LINEARS:
            outputs, inputs = layer.sizes(name, 32)
            linear = getattr(layer, name)
            kinds.add(linear.kind)
            if linear.kind == "low_rank":
                assert linear.rank * (outputs + inputs) < outputs * inputs
    assert "low_rank" in kinds


def test_energy_is_one_threshold_for_all_matrices(tiny: SpeechEncoder) -> None:
    smaller = compress(tiny, "low_rank", sparsity=0.4)
    least_lost, most_kept = 0.0, 1.0
    for number, layer in enumerate(smaller.shape.layers):
        for name in LINEARS:
            rank = getattr(layer, name).rank
            if rank is None:
                continue
            values = spectrum(dense_weight(get_linear(tiny, number, name)), None).values
            lost = np.append(np.cumsum(np.square(values[::-1]))[::-1], 0) / np.square(values).sum()
            least_lost = max(least_lost, lost[rank])
            most_kept = min(most_kept, lost[rank - 1])
    assert 0 < least_lost <= most_kept


def test_what_has_low_rank_is_found_without_loss() -> None:
    encoder = small_encoder()
    with torch.no_grad():
        for layer in range(2):
            for name in ("q", "k"):
                linear = get_linear(encoder, layer, name)
                own = spectrum(linear.weight, None)  # type: ignore[union-attr, arg-type]
                factor_in, factor_out = truncate(linear.weight, own, 3)  # type: ignore[union-attr, arg-type]
                linear.weight.copy_(factor_out @ factor_in)  # type: ignore[union-attr, operator]
    saved = 4 * (24 * 24 - 3 * 48) / nonzero_parameters(encoder)
    smaller = compress(encoder, "low_rank", linears="q,k", sparsity=saved)
    assert {layer.q.rank for layer in smaller.shape.layers} == {3}
    assert_same(smaller, encoder, speech(3000), tolerance=1e-4)


def test_second_moments_are_those_of_the_inputs() -> None:
    encoder = small_encoder()
    waveforms = speech(3000, 5000)
    seen: list[torch.Tensor] = []
    hook = get_linear(encoder, 1, "fc2").register_forward_pre_hook(
        lambda module, inputs: seen.append(inputs[0][0])
    )
    moments = second_moments(encoder, waveforms, ("q", "v", "fc2"), seconds=1)
    hook.remove()
    x = torch.cat(seen)
    assert torch.allclose(moments[1, "fc2"], x.t() @ x / len(x), rtol=1e-4, atol=1e-5)
    assert set(moments) == {(layer, name) for layer in range(2) for name in ("q", "fc2")}
    assert not any(module._forward_pre_hooks for module in encoder.modules())


@torch.no_grad()
def test_activations_lower_the_error_of_the_outputs(
    noise_folder: Path, tiny: SpeechEncoder
) -> None:
    settings = {"sparsity": 0.3, "allocation": "uniform"}
    plain = compress(tiny, "low_rank", **settings)
    weighted = compress(tiny, "low_rank", audio=noise_folder, audio_seconds=1, **settings)
    assert abs(reached(weighted, tiny) - 0.3) <= 0.01
    kept = weighted.provenance.steps[-1].settings["audio"]
    assert kept.startswith(f"{noise_folder.name} (sha256 ")
    x = layer_input(tiny, noise_folder)
    exact = x @ dense_weight(get_linear(tiny, 0, "q")).t()

    def error(encoder: SpeechEncoder) -> float:
        linear = get_linear(encoder, 0, "q")
        assert torch.equal(dense_bias(linear), dense_bias(get_linear(tiny, 0, "q")))
        return float((x @ dense_weight(linear).t() - exact).square().sum())

    assert error(weighted) < error(plain)


@torch.no_grad()
def layer_input(encoder: SpeechEncoder, folder: Path) -> torch.Tensor:
    """Return what the first layer sees of the audio in a folder, [frames, hidden]."""
    frames = []
    for path in sorted(folder.iterdir()):
        samples, _ = soundfile.read(path, dtype="float32")
        frames.append(encoder([torch.from_numpy(samples)])[0][0][0])
    return torch.cat(frames)
