"""Baseline implementations (transformers, s3prl) with random weights, for parity checks.

Every function takes a dense `EncoderShape`. `tests/encoder/test_parity.py` uses them at two
layers, `benchmarks/parity.py` at full depth.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from s3prl_compress.encoder import EncoderShape, SpeechEncoder

Run = Any
"""Maps a list of waveforms to the list of hidden states."""


def randomise(model: nn.Module, seed: int = 0) -> None:
    """Redraw all weights so that each of them matters.

    A newly built model has zero biases and nearly uniform attention, which would hide mistakes.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "norm" in name and name.endswith("weight") and weight.dim() == 1:
                weight.normal_(1.0, 0.1, generator=generator)
            elif name.endswith(("original0", "weight_g")):
                # The norms of the kernel positions of a weight-normed convolution.
                weight.uniform_(0.5, 1.0, generator=generator)
            elif name.endswith(("rel_attn_embed.weight", "relative_attention_bias.weight")):
                weight.normal_(0.0, 1.0, generator=generator)
            elif weight.dim() > 1 and weight.numel() > weight.shape[1]:
                weight.normal_(0.0, weight[0].numel() ** -0.5, generator=generator)
            else:
                weight.normal_(0.0, 0.1, generator=generator)


def transformers_model(shape: EncoderShape, kind: str = "Model", **fields: Any) -> nn.Module:
    """Return transformers' model of this shape; `kind` is "Model", "ForCTC" or "ForPreTraining"."""
    transformers = importlib.import_module("transformers")
    name = {"hubert": "Hubert", "wav2vec2": "Wav2Vec2", "wavlm": "WavLM"}[shape.family]
    if shape.relative_position is not None:
        fields["num_buckets"] = shape.relative_position.buckets
        fields["max_bucket_distance"] = shape.relative_position.max_distance
    assert shape.position_conv is not None
    config = getattr(transformers, f"{name}Config")(
        hidden_size=shape.hidden,
        num_hidden_layers=len(shape.layers),
        num_attention_heads=shape.original_heads,
        intermediate_size=shape.layers[0].ffn,
        conv_dim=[conv.width for conv in shape.convs],
        conv_kernel=[conv.kernel for conv in shape.convs],
        conv_stride=[conv.stride for conv in shape.convs],
        conv_bias=shape.conv_bias,
        feat_extract_norm=shape.conv_norm,
        do_stable_layer_norm=shape.pre_norm,
        num_conv_pos_embeddings=shape.position_conv.kernel,
        num_conv_pos_embedding_groups=shape.position_conv.groups,
        **fields,
    )
    model = getattr(transformers, f"{name}{kind}")(config).eval()
    randomise(model)
    return model


def transformers_states(
    model: nn.Module, waveform: Tensor, masks: Tensor | None = None
) -> list[Tensor]:
    """Return the L + 1 hidden states [1, frames, hidden] of one utterance.

    The last one is `last_hidden_state`: in transformers 5 the last of `hidden_states` of a large
    model precedes the final LayerNorm, but in fairseq, s3prl and transformers 4 it follows it.

    Args:
        model: as `transformers_model` returns it.
        waveform: [samples].
        masks: True where a frame is masked, [1, frames].
    """
    with torch.no_grad():
        output = model(waveform[None], mask_time_indices=masks, output_hidden_states=True)
    return [*output.hidden_states[:-1], output.last_hidden_state]


def s3prl_file(shape: EncoderShape, path: Path, normalize: bool = False) -> Path:
    """Write a random model of s3prl's own code in the format of an s3prl-converted `.pt`.

    `s3prl_compress.s3prl_bridge.compat.apply_patches()` must have been called.
    """
    assert shape.position_conv is not None
    config: dict[str, Any] = {
        "extractor_mode": "default" if shape.conv_norm == "group" else "layer_norm",
        "encoder_layers": len(shape.layers),
        "encoder_embed_dim": shape.hidden,
        "encoder_ffn_embed_dim": shape.layers[0].ffn,
        "encoder_attention_heads": shape.original_heads,
        "layer_norm_first": shape.pre_norm,
        "conv_feature_layers": str(
            [(conv.width, conv.kernel, conv.stride) for conv in shape.convs]
        ),
        "conv_bias": shape.conv_bias,
        "conv_pos": shape.position_conv.kernel,
        "conv_pos_groups": shape.position_conv.groups,
    }
    if shape.family == "wavlm":
        assert shape.relative_position is not None
        config |= {
            "normalize": normalize,
            "relative_position_embedding": True,
            "gru_rel_pos": True,
            "num_buckets": shape.relative_position.buckets,
            "max_distance": shape.relative_position.max_distance,
        }
        source = importlib.import_module("s3prl.upstream.wavlm.WavLM")
        model = source.WavLM(source.WavLMConfig(config))
        randomise(model)
        content = {"cfg": config, "model": model.state_dict()}
    elif shape.family == "hubert":
        source = importlib.import_module("s3prl.upstream.hubert.hubert_model")
        config |= {"label_rate": 50.0, "final_dim": 8}
        symbols = [["a", "b", "c"]]
        model = source.HubertModel(
            source.HubertConfig(**config), source.HubertPretrainingConfig(), symbols
        )
        randomise(model)
        content = {
            "task_cfg": {"normalize": normalize},
            "model_cfg": config,
            "model_weight": model.state_dict(),
            "dictionaries_symbols": symbols,
        }
    else:
        source = importlib.import_module("s3prl.upstream.wav2vec2.wav2vec2_model")
        config |= {"final_dim": 8, "latent_vars": 4, "quantize_targets": True}
        model = source.Wav2Vec2Model(source.Wav2Vec2Config(**config))
        randomise(model)
        content = {
            "task_cfg": {"normalize": normalize},
            "model_cfg": config,
            "model_weight": model.state_dict(),
        }
    torch.save(content, path)
    return path


def s3prl_expert(family: str, path: Path) -> nn.Module:
    """Return s3prl's own upstream that has loaded such a file."""
    module = importlib.import_module(f"s3prl.upstream.{family}.expert")
    return module.UpstreamExpert(str(path)).eval()


def s3prl_states(expert: nn.Module, waveforms: list[Tensor]) -> list[Tensor]:
    """Return the expert's L + 1 hidden states [batch, frames, hidden]."""
    with torch.no_grad():
        return list(expert(waveforms)["hidden_states"])


def largest_difference(ours: list[Tensor], theirs: list[Tensor]) -> float:
    """Return the largest difference over all states, relative to each state's largest value.

    Raises:
        ValueError: the numbers or the sizes of the states differ, or a value is not finite.
    """
    sizes = [[tuple(state.shape) for state in states] for states in (ours, theirs)]
    if sizes[0] != sizes[1]:
        raise ValueError(f"hidden states of sizes {sizes[0]} and {sizes[1]}")
    if not all(bool(torch.isfinite(state).all()) for state in (*ours, *theirs)):
        raise ValueError("a hidden state holds NaN or infinity")
    return max(
        float((one - other).abs().max() / other.abs().max())
        for one, other in zip(ours, theirs, strict=True)
    )


def noise(*lengths: int, seed: int = 0) -> list[Tensor]:
    """Return utterances of these lengths, each with its own offset and loudness."""
    generator = torch.Generator().manual_seed(seed)
    return [
        0.05 * (number + 1) * (torch.randn(length, generator=generator) + 0.3)
        for number, length in enumerate(lengths)
    ]


def states_of(encoder: SpeechEncoder, waveforms: list[Tensor]) -> list[Tensor]:
    """Return the L + 1 hidden states of a batch."""
    with torch.no_grad():
        return list(encoder(waveforms)[0])
