"""Whisper: transformers' modules with heads and FFNs of any sizes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, cast

import torch
from pydantic import Field, StrictInt, TypeAdapter, ValidationError
from torch import Tensor, nn

from ..common.errors import InputError
from ..encoder.checkpoint import check_tensors, fill
from ..encoder.importers.reading import first_line
from ..encoder.linear import build_linear, linear_shape
from ..encoder.provenance import Provenance
from ..encoder.serialization import StoredType
from ..encoder.shape import LINEARS, LayerShape
from ..surgery.layered import LayerEdit
from .heads import PaddedHeads
from .shape import WhisperShape

if TYPE_CHECKING:  # transformers takes seconds to import: only where a model is built
    from transformers import GenerationConfig, WhisperForConditionalGeneration

GENERATION_FILE = "generation_config.json"

EMBEDDING = "model.decoder.embed_tokens.weight"
TIED = "proj_out.weight"
"""The output projection, which is the embedding and counted and stored once."""

SETTINGS = (
    "activation_function",
    "scale_embedding",
    "dropout",
    "attention_dropout",
    "activation_dropout",
    "encoder_layerdrop",
    "decoder_layerdrop",
    "pad_token_id",
    "bos_token_id",
    "eos_token_id",
    "decoder_start_token_id",
    "suppress_tokens",
    "begin_suppress_tokens",
    "forced_decoder_ids",
    "max_length",
    "use_cache",
    "median_filter_width",
    "apply_spec_augment",
    "mask_time_prob",
    "mask_time_length",
    "mask_time_min_masks",
    "mask_feature_prob",
    "mask_feature_length",
    "mask_feature_min_masks",
)
"""Fields of transformers' `WhisperConfig` that say nothing about sizes, and are kept."""

_PAIR = Annotated[list[StrictInt], Field(min_length=2, max_length=2)]
_ALIGNMENT_HEADS: TypeAdapter[Any] = TypeAdapter(list[_PAIR] | None)


class Whisper:
    """A Whisper model of any shape.

    Attributes:
        model: transformers' model, whose layers have been changed in place. `model.generate` works
            in every mode; `save_pretrained` does not make a folder that transformers could read.
        shape: all sizes.
        files: the content of the files that are kept beside the weights, by name: generation
            config, feature extractor and tokenizer. `save` writes them as they were read, so
            changes of `model.generation_config` last only as long as this object.
        provenance: the base model and the methods that were applied to it.
        stored_as: type of the weights in the checkpoint that they were read from.
    """

    def __init__(
        self,
        model: WhisperForConditionalGeneration,
        shape: WhisperShape,
        files: Mapping[str, bytes],
        provenance: Provenance,
    ) -> None:
        self.model = model
        self.shape = shape
        self.files = dict(files)
        self.provenance = provenance
        self.stored_as: StoredType = "float32"

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return self.model.get_parameter(EMBEDDING).device

    def to(self, device: str | torch.device) -> Whisper:
        """Move the weights to a device, and return this model."""
        module: nn.Module = self.model
        module.to(device)
        return self

    def get_submodule(self, target: str) -> nn.Module:
        """Return a module of transformers' model by its full name."""
        return cast(nn.Module, self.model.get_submodule(target))

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Yield all parameters with their names, the embedding only once."""
        yield from self.model.named_parameters()

    def settings(self) -> dict[str, Any]:
        """Return the fields of the model's config that are not sizes, as JSON types."""
        config = self.model.config.to_dict()
        return {name: config[name] for name in SETTINGS if name in config}

    def stored_state(self) -> dict[str, Tensor]:
        """Return the tensors that a checkpoint holds: all, but the embedding only once."""
        return {name: own for name, own in self.model.state_dict().items() if name != TIED}


def build_whisper(
    shape: WhisperShape,
    settings: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    files: Mapping[str, bytes],
    provenance: Provenance,
    where: str,
) -> Whisper:
    """Build a model in eval mode, without initialising or copying weights.

    Args:
        shape: all sizes.
        settings: fields of transformers' `WhisperConfig` that are not sizes.
        tensors: the weights by transformers' names; they become float32.
        files: content of the kept files by name. The generation config is read from them.
        provenance: the model's history.
        where: name of the source, for messages.

    Raises:
        InputError: transformers refuses a setting or the generation config; a tensor is missing,
            unexpected, of the wrong size, or not finite.
    """
    model = empty_model(shape, settings, where)
    given = dict(tensors)
    if EMBEDDING in given:
        given[TIED] = given[EMBEDDING]
    check_tensors(model.state_dict(), {n: tuple(t.shape) for n, t in given.items()}, where)
    fill(model, given, where)
    model.proj_out.weight = model.get_parameter(EMBEDDING)
    model.get_parameter("model.encoder.embed_positions.weight").requires_grad_(False)
    if GENERATION_FILE in files:
        model.generation_config = _generation_config(files[GENERATION_FILE], where)
    _renumber_alignment_heads(model.generation_config, shape)
    return Whisper(model.eval(), shape, files, provenance)


def empty_model(
    shape: WhisperShape, settings: Mapping[str, Any], where: str
) -> WhisperForConditionalGeneration:
    """Return transformers' model with the sizes of `shape`, on the meta device.

    Raises:
        InputError: transformers refuses a setting.
    """
    from transformers import WhisperConfig, WhisperForConditionalGeneration

    try:
        config = WhisperConfig(
            **settings,
            d_model=shape.hidden,
            vocab_size=shape.vocabulary,
            num_mel_bins=shape.mel_bins,
            max_source_positions=shape.audio_positions,
            max_target_positions=shape.text_positions,
            encoder_layers=len(shape.encoder),
            decoder_layers=len(shape.decoder),
            encoder_attention_heads=shape.encoder_heads,
            decoder_attention_heads=shape.decoder_heads,
            encoder_ffn_dim=max(layer.ffn for layer in shape.encoder),
            decoder_ffn_dim=max(layer.ffn for layer in shape.decoder),
        )
        with torch.device("meta"):
            model = WhisperForConditionalGeneration(config)
    except Exception as error:  # the errors of its checks have no common class
        raise InputError(f"{where}: transformers refuses it: {first_line(error)}") from error
    with torch.device("meta"):
        for number, layer in enumerate(shape.layers):
            _resize(model, shape, number, layer)
    return model


def rebuild_whisper(
    whisper: Whisper, edit: LayerEdit, *, stacks: WhisperShape | None = None
) -> Whisper:
    """Return a new model that shares no memory with the old one.

    Args:
        whisper: source of everything that is not replaced; it is not changed.
        edit: new linears, whose tensors are used without a copy, and the shapes of all layers.
        stacks: with fewer layers: the shape to build, whose layers are the bottom ones of
            `whisper`; then `edit` must be without linears.
    """
    layers = list(edit.layers)
    for (layer, name), linear in edit.linears.items():
        layers[layer] = layers[layer].model_copy(update={name: linear_shape(linear)})
    shape = stacks or whisper.shape.with_layers(layers)
    new = {
        f"{whisper.shape.linear_name(*place)}.{key}": tensor.detach()
        for place, linear in edit.linears.items()
        for key, tensor in linear.state_dict().items()
    }
    replaced = {whisper.shape.linear_name(*place) for place in edit.linears}
    settings = whisper.settings()
    wanted = empty_model(shape, settings, "the new model").state_dict()
    for name, tensor in whisper.stored_state().items():
        if name in wanted and name.rpartition(".")[0] not in replaced:
            new[name] = tensor.detach().clone()
    result = build_whisper(shape, settings, new, whisper.files, whisper.provenance, "the new model")
    result.to(whisper.device)
    result.model.train(whisper.model.training)
    return result


def _resize(
    model: WhisperForConditionalGeneration, shape: WhisperShape, number: int, layer: LayerShape
) -> None:
    """Give the linears of a layer the sizes and kinds of `layer`."""
    cross = number >= len(shape.encoder) + len(shape.decoder)
    for name in LINEARS[:4] if cross else LINEARS:
        linear = build_linear(
            getattr(layer, name), *layer.sizes(name, shape.hidden), bias=name != "k"
        )
        parent, _, own = shape.linear_name(number, name).rpartition(".")
        setattr(model.get_submodule(parent), own, linear)
    attention: Any = model.get_submodule(shape.attention_name(number))
    size = max(max(head.qk, head.vo) for head in layer.heads)
    # `scaling` stays that of the original head size, with which the weights were trained.
    attention.num_heads, attention.head_dim = len(layer.heads), size
    attention.embed_dim = attention.num_heads * size
    if any(head.qk < size for head in layer.heads):
        attention.qk_layout = PaddedHeads([head.qk for head in layer.heads], size)
        attention.qk_layout.pad_outputs_of(attention.q_proj)
        attention.qk_layout.pad_outputs_of(attention.k_proj)
    if any(head.vo < size for head in layer.heads):
        attention.vo_layout = PaddedHeads([head.vo for head in layer.heads], size)
        attention.vo_layout.pad_outputs_of(attention.v_proj)
        attention.vo_layout.unpad_inputs_of(attention.out_proj)


def _generation_config(content: bytes, where: str) -> GenerationConfig:
    from transformers import GenerationConfig

    try:
        config = GenerationConfig.from_dict(json.loads(content))
    except Exception as error:
        raise InputError(f"{where}: {GENERATION_FILE}: {first_line(error)}") from error
    try:
        _ALIGNMENT_HEADS.validate_python(getattr(config, "alignment_heads", None))
    except ValidationError as error:
        raise InputError(
            f"{where}: {GENERATION_FILE}: alignment_heads: must be a list of [layer, head]"
        ) from error
    return config


def _renumber_alignment_heads(config: GenerationConfig, shape: WhisperShape) -> None:
    """Point the heads that give token timestamps to their places among the remaining heads."""
    heads = getattr(config, "alignment_heads", None)
    if not heads:
        return
    places = {
        (number, head.original): position
        for number, layer in enumerate(shape.cross_attention)
        for position, head in enumerate(layer.heads)
    }
    left = [
        [layer, places[layer, original]] for layer, original in heads if (layer, original) in places
    ]
    setattr(config, "alignment_heads", left or None)  # noqa: B010  # not a declared attribute
