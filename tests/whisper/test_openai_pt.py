from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import WhisperForConditionalGeneration

from s3prl_compress.common.errors import InputError
from s3prl_compress.whisper import compress, is_whisper, load, save
from s3prl_compress.whisper.openai_pt import generation_settings

from .small import FRAMES, features, small_model

BLOCK = {
    "attn.query": "self_attn.q_proj",
    "attn.key": "self_attn.k_proj",
    "attn.value": "self_attn.v_proj",
    "attn.out": "self_attn.out_proj",
    "attn_ln": "self_attn_layer_norm",
    "mlp.0": "fc1",
    "mlp.2": "fc2",
    "mlp_ln": "final_layer_norm",
}
CROSS = {
    "cross_attn.query": "encoder_attn.q_proj",
    "cross_attn.key": "encoder_attn.k_proj",
    "cross_attn.value": "encoder_attn.v_proj",
    "cross_attn.out": "encoder_attn.out_proj",
    "cross_attn_ln": "encoder_attn_layer_norm",
}


def openai_state(model: WhisperForConditionalGeneration) -> dict[str, Tensor]:
    """Return the weights under the names of openai's `whisper/model.py`."""
    config, state = model.config, model.model.state_dict()
    modules = {
        "encoder.conv1": "encoder.conv1",
        "encoder.conv2": "encoder.conv2",
        "encoder.ln_post": "encoder.layer_norm",
        "decoder.ln": "decoder.layer_norm",
    }
    for number in range(config.encoder_layers):
        for name, other in BLOCK.items():
            modules[f"encoder.blocks.{number}.{name}"] = f"encoder.layers.{number}.{other}"
    for number in range(config.decoder_layers):
        for name, other in (BLOCK | CROSS).items():
            modules[f"decoder.blocks.{number}.{name}"] = f"decoder.layers.{number}.{other}"
    tensors = {
        "encoder.positional_embedding": state["encoder.embed_positions.weight"],
        "decoder.positional_embedding": state["decoder.embed_positions.weight"],
        "decoder.token_embedding.weight": state["decoder.embed_tokens.weight"],
    }
    for name, other in modules.items():
        for part in ("weight", "bias"):
            if f"{other}.{part}" in state:
                tensors[f"{name}.{part}"] = state[f"{other}.{part}"]
    assert len(tensors) == len(state)
    return tensors


def openai_file(
    path: Path, vocabulary: int = 51865, positions: int = FRAMES // 2, **dims: Any
) -> WhisperForConditionalGeneration:
    """Write a tiny model as openai does, and return it as transformers has it."""
    model = small_model(
        vocab_size=vocabulary,
        d_model=8,
        encoder_layers=1,
        decoder_layers=2,
        max_source_positions=positions,
        max_target_positions=40,
    )
    config = model.config
    own = {
        "n_mels": config.num_mel_bins,
        "n_vocab": vocabulary,
        "n_audio_ctx": config.max_source_positions,
        "n_audio_state": config.d_model,
        "n_audio_head": config.encoder_attention_heads,
        "n_audio_layer": config.encoder_layers,
        "n_text_ctx": config.max_target_positions,
        "n_text_state": config.d_model,
        "n_text_head": config.decoder_attention_heads,
        "n_text_layer": config.decoder_layers,
    }
    torch.save({"dims": own | dims, "model_state_dict": openai_state(model)}, path)
    return model


def test_weights_and_logits_are_those_of_transformers(tmp_path: Path) -> None:
    path = tmp_path / "tiny.pt"
    reference = openai_file(path)
    assert is_whisper(path)
    whisper = load(path)
    given = whisper.model.state_dict()
    for name, tensor in reference.state_dict().items():
        assert torch.equal(given.pop(name), tensor)
    assert not given
    text = torch.tensor([[50258, 50259, 50359, 7, 8]])
    with torch.no_grad():
        one, other = (
            model(input_features=features(), decoder_input_ids=text).logits
            for model in (whisper.model, reference)
        )
    assert torch.equal(one, other)


def test_it_generates_compresses_and_is_saved(tmp_path: Path) -> None:
    openai_file(tmp_path / "tiny.pt")
    whisper = load(tmp_path / "tiny.pt")
    again = load(save(whisper, tmp_path / "own"))
    smaller = compress(again, sparsity=0.003, part="encoder")
    for model in (whisper.model, again.model, smaller.model):
        found = model.generate(features(), language="de", task="transcribe", max_new_tokens=4)
        assert found.shape[1] > 0
        times = model.generate(features(), language="de", return_timestamps=True, max_new_tokens=4)
        assert times[0, 0] >= 50364  # a timestamp
    assert sorted(again.files) == ["generation_config.json", "preprocessor_config.json"]


@pytest.mark.parametrize(
    ("vocabulary", "expected"),
    [
        # As published in the generation configs of whisper-tiny.en, whisper-tiny and large-v3.
        (51864, {"end": 50256, "start": 50257, "previous": 50360, "no_timestamps": 50362}),
        (
            51865,
            {
                "end": 50257,
                "start": 50258,
                "previous": 50361,
                "no_timestamps": 50363,
                "task": {"transcribe": 50359, "translate": 50358},
                "last": ("<|su|>", 50357),
            },
        ),
        (
            51866,
            {
                "end": 50257,
                "start": 50258,
                "previous": 50362,
                "no_timestamps": 50364,
                "task": {"transcribe": 50360, "translate": 50359},
                "last": ("<|yue|>", 50358),
            },
        ),
    ],
)
def test_special_tokens_follow_from_the_vocabulary(
    vocabulary: int, expected: dict[str, Any]
) -> None:
    settings = generation_settings(vocabulary, 448)
    assert settings["eos_token_id"] == expected["end"]
    assert settings["decoder_start_token_id"] == expected["start"]
    assert settings["prev_sot_token_id"] == expected["previous"]
    assert settings["no_timestamps_token_id"] == expected["no_timestamps"]
    assert settings.get("task_to_id") == expected.get("task")
    assert settings["begin_suppress_tokens"] == [220, expected["end"]]
    if "last" in expected:
        assert settings["lang_to_id"]["<|en|>"] == 50259
        assert list(settings["lang_to_id"].items())[-1] == expected["last"]
    suppressed = settings["suppress_tokens"]
    assert suppressed == sorted(set(suppressed))
    assert expected["end"] not in suppressed
    assert expected["no_timestamps"] not in suppressed
    assert {expected["start"], expected["previous"], expected["no_timestamps"] - 1} <= set(
        suppressed
    )


@pytest.mark.parametrize(
    ("dims", "message"),
    [
        ({"n_vocab": 120}, "n_vocab is 120"),
        ({"n_audio_state": 16}, "n_audio_state and n_text_state differ"),
        ({"n_audio_head": 3}, "hidden 8 cannot be divided among 3 heads"),
        ({"n_text_layer": 3}, r"decoder\.layers\.2.* is missing"),
        ({"n_text_layer": "2"}, "decoder_layers is '2'"),
    ],
)
def test_dimensions_that_do_not_fit_are_one_line(
    dims: dict[str, Any], message: str, tmp_path: Path
) -> None:
    openai_file(tmp_path / "tiny.pt", **dims)
    with pytest.raises(InputError, match=message) as caught:
        load(tmp_path / "tiny.pt")
    assert "\n" not in str(caught.value)


def test_a_truncated_file_and_one_with_code_are_one_line(tmp_path: Path) -> None:
    path = tmp_path / "tiny.pt"
    openai_file(path)
    path.write_bytes(path.read_bytes()[:-2000])
    torch.save({"dims": {}, "model_state_dict": {}, "more": Path("x")}, tmp_path / "code.pt")
    torch.save({"dims": {"n_mels": 8}, "model_state_dict": {}}, tmp_path / "few.pt")
    for name in ("tiny.pt", "code.pt", "few.pt"):
        with pytest.raises(InputError, match=name) as caught:
            load(tmp_path / name)
        assert "\n" not in str(caught.value)
