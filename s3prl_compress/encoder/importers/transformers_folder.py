"""Importer for transformers folders of HuBERT, wav2vec2 and WavLM, with or without a head.

Parameter names are the same here and there. This module turns `config.json` into a shape, strips
prefix and heads, and refuses settings that the forward pass does not implement. It does not import
transformers.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, cast

from torch import Tensor

from ...common.errors import InputError
from ...common.model_errors import first_mistake
from ..model import TRANSFORMERS_EPS
from ..provenance import EXPORT_MARK
from ..shape import ConvShape, EncoderShape, PositionConvShape, RelativePositionShape, dense_layer
from .imported import ImportedCheckpoint, checked_head_size
from .reading import read_json, read_pickle, read_safetensors, tensors_only
from .registry import Importer, Source, register_importer
from .transformers_ctc import read_head

_log = logging.getLogger(__name__)

FAMILIES = ("hubert", "wav2vec2", "wavlm")

# transformers' defaults for fields that may be missing in an old config.json.
_DEFAULTS: dict[str, Any] = {
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "layer_norm_eps": 1e-5,
    "feat_extract_norm": "group",
    "conv_dim": (512,) * 7,
    "conv_stride": (5, 2, 2, 2, 2, 2, 2),
    "conv_kernel": (10, 3, 3, 3, 3, 2, 2),
    "conv_bias": False,
    "num_conv_pos_embeddings": 128,
    "num_conv_pos_embedding_groups": 16,
    "do_stable_layer_norm": False,
    "num_buckets": 320,
    "max_bucket_distance": 800,
}

# Fields that change the forward pass, with the only value that this package supports.
_SUPPORTED: dict[str, Any] = {
    "hidden_act": "gelu",
    "feat_extract_activation": "gelu",
    "feat_proj_layer_norm": True,
    "conv_pos_batch_norm": False,
    "add_adapter": False,
    "adapter_attn_dim": None,
    "pruned_heads": {},
    "quantization_config": None,
}

# Of ForPreTraining, ForSequenceClassification, ForAudioFrameClassification and ForXVector.
_DROPPED_HEADS = (
    "quantizer",
    "project_q",
    "project_hid",
    "projector",
    "classifier",
    "layer_weights",
    "tdnn",
    "objective",
    "feature_extractor",  # ForXVector's; the encoder's own follows the family's prefix
)

_WEIGHTS = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)


def recognise(source: Source) -> bool:
    """Say whether a folder's `config.json` is that of one of the three families."""
    return source.is_folder and source.content.get("model_type") in FAMILIES


def read(source: Source) -> ImportedCheckpoint:
    """Read a folder of transformers.

    Raises:
        InputError: a field of the configuration is not supported, or a file is broken.
    """
    folder, config = source.path, source.content
    family: str = config["model_type"]
    shape = _shape(config, folder / "config.json")
    tensors, files = read_weights(folder)
    tensors, heads = _without_prefix(tensors, family)
    tensors = {_weight_norm_name(name): tensor for name, tensor in tensors.items()}
    head = read_head(heads, config, shape.hidden, folder)
    reader = "safetensors" if files[0].suffix == ".safetensors" else "torch"
    return ImportedCheckpoint(
        shape=shape,
        tensors=tensors,
        normalize=_normalize(config, folder),
        normalize_eps=_normalize_eps(config),
        normalize_key="do_normalize",
        files=files,
        head=head,
        libraries=tuple(dict.fromkeys(("torch", reader))),
    )


register_importer(
    Importer(
        f"a transformers folder or hub id of a {', '.join(FAMILIES[:-1])} or {FAMILIES[-1]} model",
        recognise,
        read,
    )
)


def _shape(config: dict[str, Any], path: Path) -> EncoderShape:
    for field, supported in _SUPPORTED.items():
        value = config.get(field, supported)
        if (value or supported) != supported or (supported is True and value is False):
            raise InputError(
                f"{path}: {field} is {value!r}, which is not supported (only {supported!r})"
            )
    value = {name: config.get(name, default) for name, default in _DEFAULTS.items()}
    convs = [value[name] for name in ("conv_dim", "conv_kernel", "conv_stride")]
    if not all(isinstance(sizes, list | tuple) for sizes in convs) or (
        len({len(sizes) for sizes in convs}) != 1
    ):
        raise InputError(f"{path}: conv_dim, conv_kernel and conv_stride differ in length")
    if value["feat_extract_norm"] not in ("group", "layer"):
        raise InputError(
            f"{path}: feat_extract_norm is {value['feat_extract_norm']!r}; known are 'group', "
            "'layer'"
        )
    hidden, heads = value["hidden_size"], value["num_attention_heads"]
    head_size = checked_head_size(hidden, heads, value["num_hidden_layers"], str(path))
    try:
        return EncoderShape(
            family=config["model_type"],
            hidden=hidden,
            convs=tuple(
                ConvShape(width=width, kernel=kernel, stride=stride)
                for width, kernel, stride in zip(*convs, strict=True)
            ),
            conv_norm=cast(Literal["group", "layer"], value["feat_extract_norm"]),
            conv_bias=value["conv_bias"],
            pre_norm=value["do_stable_layer_norm"],
            original_heads=heads,
            head_size=head_size,
            layer_norm_eps=value["layer_norm_eps"],
            position_conv=PositionConvShape(
                kernel=value["num_conv_pos_embeddings"],
                groups=value["num_conv_pos_embedding_groups"],
            ),
            relative_position=(
                RelativePositionShape(
                    buckets=value["num_buckets"], max_distance=value["max_bucket_distance"]
                )
                if config["model_type"] == "wavlm"
                else None
            ),
            layers=(dense_layer(heads, head_size, value["intermediate_size"]),)
            * value["num_hidden_layers"],
        )
    except ValueError as error:
        raise InputError(f"{path} describes no possible model: {first_mistake(error)}") from error


def read_weights(
    folder: Path, wanted: Callable[[str], bool] | None = None
) -> tuple[dict[str, Tensor], tuple[Path, ...]]:
    """Read the weights of a folder of transformers, and return them with the folder's files.

    Args:
        folder: a folder of transformers.
        wanted: says by its name whether a tensor is needed; None: all are.

    Raises:
        InputError: there are no weights, or a file is missing or damaged.
    """
    index = next((folder / name for name in _WEIGHTS if (folder / name).is_file()), None)
    if index is None:
        raise InputError(f"{folder} has no weights; looked for {', '.join(_WEIGHTS)}")
    files = (index,)
    if index.suffix == ".json":
        shards = read_json(index).get("weight_map", {}).values()
        if any(Path(shard).name != shard for shard in shards):
            raise InputError(f"{index} names files outside its folder")
        files = tuple(folder / shard for shard in sorted(set(shards)))
        missing = [path.name for path in files if not path.is_file()]
        if missing or not files:
            raise InputError(f"{index}: the weights file {missing or '(none listed)'} is missing")
    tensors: dict[str, Tensor] = {}
    for path in files:
        if path.suffix == ".safetensors":
            tensors.update(read_safetensors(path, wanted))
        else:
            tensors.update(tensors_only(read_pickle(path), str(path)))
    if wanted is not None:
        tensors = {name: tensor for name, tensor in tensors.items() if wanted(name)}
    return tensors, files


def _without_prefix(
    tensors: dict[str, Tensor], family: str
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Split the tensors into the encoder's and a CTC head's, both without prefix."""
    prefix = f"{family}."
    if not any(name.startswith(prefix) for name in tensors):
        return tensors, {}
    inner: dict[str, Tensor] = {}
    heads: dict[str, Tensor] = {}
    dropped = []
    for name, tensor in tensors.items():
        if name.startswith(prefix):
            inner[name.removeprefix(prefix)] = tensor
        elif name.startswith("lm_head."):
            heads[name.removeprefix("lm_head.")] = tensor
        elif name.split(".")[0] in _DROPPED_HEADS:
            dropped.append(name)
        else:
            inner[name] = tensor  # the strict check will name it
    if dropped:
        _log.debug("heads not imported: %s", ", ".join(dropped))
    return inner, heads


def _weight_norm_name(name: str) -> str:
    """Translate the names of `torch.nn.utils.weight_norm` before torch 2."""
    for old, new in (("weight_g", "original0"), ("weight_v", "original1")):
        if name.endswith(f"conv.{old}"):
            return name.removesuffix(old) + f"parametrizations.weight.{new}"
    return name


def _normalize_eps(config: dict[str, Any]) -> float:
    """Return the eps stored by an export of this package, which transformers itself ignores."""
    history = config.get(EXPORT_MARK)
    eps = history.get("normalize_eps") if isinstance(history, dict) else None
    return float(eps) if isinstance(eps, int | float) and eps > 0 else TRANSFORMERS_EPS


def _normalize(config: dict[str, Any], folder: Path) -> bool | None:
    """Return `do_normalize`, which transformers 5 nests one level deeper; None if it is missing."""
    for place in (*extractor_configs(folder), config):
        if isinstance(place.get("do_normalize"), bool):
            return bool(place["do_normalize"])
    return None


def extractor_configs(folder: Path) -> list[dict[str, Any]]:
    """Return all places where a folder may keep the settings of its feature extractor."""
    places: list[Any] = []
    for name in ("preprocessor_config.json", "processor_config.json"):
        if (folder / name).is_file():
            content = read_json(folder / name)
            places += [content, content.get("feature_extractor")]
    return [place for place in places if isinstance(place, dict)]
