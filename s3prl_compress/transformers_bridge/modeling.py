"""Encoders and their CTC heads as transformers' models.

They compute exactly what `s3prl_compress.load` gives. Weights are read and written by this
package, because transformers knows neither layers of different sizes nor shared, low-rank and
sparse linears.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput, CausalLMOutput

from ..common.errors import InputError
from ..encoder import SpeechEncoder, load, save
from ..encoder.checkpoint import is_checkpoint, read_config
from ..encoder.companions import MODEL_TYPE
from ..encoder.head import CTCHead
from ..encoder.shape import EncoderShape
from .configuration import CompressedSpeechConfig

ModelT = TypeVar("ModelT", bound="CompressedSpeechPreTrainedModel")

_HUB_OPTIONS = ("cache_dir", "force_download", "local_files_only", "token", "revision")
_WITHOUT_EFFECT = frozenset(
    (
        "_commit_hash",
        "_from_auto",
        "_from_pipeline",
        "adapter_kwargs",
        "attn_implementation",
        "code_revision",
        "low_cpu_mem_usage",
        "name_or_path",
        "trust_remote_code",
        "use_safetensors",
        "weights_only",
    )
)
"""Arguments of transformers' `from_pretrained` that have nothing to change here."""


class CompressedSpeechPreTrainedModel(PreTrainedModel):
    """Reading and writing of an encoder of this package, and its forward pass.

    Utterances are padded as by `load`'s default: the hidden states of an utterance do not depend
    on its batch.

    Args:
        config: of a checkpoint folder.
        encoder: the loaded encoder; None: one of the config's shape with random weights.
    """

    config_class = CompressedSpeechConfig
    main_input_name = "input_values"

    def __init__(
        self, config: CompressedSpeechConfig, encoder: SpeechEncoder | None = None
    ) -> None:
        super().__init__(config)
        self.encoder = _untrained(config) if encoder is None else encoder
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """Leave the weights as they are: `post_init` would draw new ones."""

    @classmethod
    def from_pretrained(  # type: ignore[override]  # fewer arguments than transformers'
        cls: type[ModelT],
        pretrained_model_name_or_path: str | os.PathLike[str],
        *args: Any,
        config: CompressedSpeechConfig | None = None,
        dtype: torch.dtype | str | None = None,
        torch_dtype: torch.dtype | str | None = None,
        device_map: Any = None,
        output_loading_info: bool = False,
        **kwargs: Any,
    ) -> Any:
        """Load a checkpoint folder, or a model on the hub, in eval mode.

        Args:
            pretrained_model_name_or_path: a folder, or a hub id.
            args: none are accepted.
            config: replaces the folder's config as the model's attribute `config`; the shape stays
                that of the folder.
            dtype: type of the weights in memory; None or "auto": float32.
            torch_dtype: an older name of `dtype`.
            device_map: one device for all: a device or its name, {"": device}, or "auto".
            output_loading_info: return the model and a dictionary of missing and unexpected
                weights, which are always none.
            kwargs: the hub's `cache_dir`, `force_download`, `local_files_only`, `token` and
                `revision`; attributes of the config, such as `output_hidden_states`; and what
                transformers' own classes pass on and has no effect here.

        Raises:
            InputError: the folder cannot be read.
            TypeError: an argument is not supported, such as a quantization.
        """
        if args:
            raise TypeError(f"{cls.__name__}.from_pretrained takes no further positional arguments")
        hub = {name: kwargs.pop(name) for name in _HUB_OPTIONS if name in kwargs}
        folder = _folder(pretrained_model_name_or_path, hub)
        config = config or cls.config_class.from_pretrained(folder)
        for name, value in kwargs.items():
            if hasattr(config, name):
                setattr(config, name, value)
            elif name not in _WITHOUT_EFFECT and value not in (None, ""):
                raise TypeError(f"{cls.__name__}.from_pretrained: {name} is not supported")
        model: Any = cls(config, load(folder))
        asked = torch_dtype if dtype is None else dtype
        if isinstance(asked, str) and asked != "auto":
            asked = getattr(torch, asked)
        if isinstance(asked, torch.dtype):
            model = model.to(asked)
        if device_map is not None:
            model = model.to(_device(device_map))
        nothing: dict[str, list[str]] = {
            name: []
            for name in ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs")
        }
        return (model.eval(), nothing) if output_loading_info else model.eval()

    def save_pretrained(
        self,
        save_directory: str | os.PathLike[str],
        *args: Any,
        push_to_hub: bool = False,
        **kwargs: Any,
    ) -> None:
        """Write a checkpoint folder of this package, in float32 or, in half precision, float16.

        Args:
            save_directory: new, empty, or an earlier checkpoint.
            args: of transformers, without effect.
            push_to_hub: not supported: upload the folder.
            kwargs: of transformers, without effect.

        Raises:
            InputError: the folder holds something else.
        """
        if push_to_hub:
            raise TypeError("push_to_hub: not supported; save the model, and upload the folder")
        half = self.encoder.dtype in (torch.float16, torch.bfloat16)
        save(self.encoder, Path(save_directory), dtype=torch.float16 if half else torch.float32)

    def encode(
        self, input_values: Tensor, attention_mask: Tensor | None
    ) -> tuple[tuple[Tensor, ...], Tensor]:
        """Return the hidden states of a batch, and the number of frames of each utterance."""
        lengths: Sequence[int] = [input_values.shape[1]] * len(input_values)
        if attention_mask is not None:
            lengths = attention_mask.long().sum(-1).tolist()
        waveforms = [row[:length] for row, length in zip(input_values, lengths, strict=True)]
        states, frames = self.encoder(waveforms)
        return states, frames

    def _wants_states(self, asked: bool | None) -> bool:
        return bool(self.config.output_hidden_states if asked is None else asked)

    def _get_feat_extract_output_lengths(self, input_lengths: Tensor) -> Tensor:
        """Return the number of frames of utterances of so many samples (transformers' name)."""
        frames = [self.encoder.shape.frames(int(length)) for length in input_lengths.flatten()]
        return torch.tensor(frames, device=input_lengths.device).view(input_lengths.shape)


class CompressedSpeechModel(CompressedSpeechPreTrainedModel):
    """An encoder, for `AutoModel`. There are no attention weights in its output."""

    def forward(
        self,
        input_values: Tensor,
        attention_mask: Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> BaseModelOutput | tuple[Any, ...]:
        """Encode a batch.

        Args:
            input_values: waveforms at 16 kHz, [batch, samples]. Do not normalise them: the encoder
                does so where it should.
            attention_mask: 1 for samples and 0 for the padding after them, [batch, samples];
                None: there is no padding.
            output_attentions: not supported.
            output_hidden_states: return the L + 1 hidden states [batch, frames, hidden], of which
                the last one is `last_hidden_state`.
            return_dict: False: return a tuple.
        """
        _refuse_attentions(self.config if output_attentions is None else output_attentions)
        states, _ = self.encode(input_values, attention_mask)
        hidden = states if self._wants_states(output_hidden_states) else None
        output = BaseModelOutput(last_hidden_state=states[-1], hidden_states=hidden)
        return output.to_tuple() if return_dict is False else output


class CompressedSpeechForCTC(CompressedSpeechPreTrainedModel):
    """An encoder with its CTC head, for `AutoModelForCTC` and recognition pipelines.

    Raises:
        InputError: the folder has no head.
    """

    def __init__(
        self, config: CompressedSpeechConfig, encoder: SpeechEncoder | None = None
    ) -> None:
        super().__init__(config, encoder)
        if self.encoder.head is None:
            raise InputError("the model has no CTC head; load it by AutoModel")

    def forward(
        self,
        input_values: Tensor,
        attention_mask: Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        labels: Tensor | None = None,
    ) -> CausalLMOutput | tuple[Any, ...]:
        """Return logits [batch, frames, symbols], and the loss if there are labels.

        Args:
            input_values: as for `CompressedSpeechModel.forward`, also the next four.
            attention_mask: see there.
            output_attentions: see there.
            output_hidden_states: see there.
            return_dict: see there.
            labels: numbers of symbols, [batch, symbols], -100 after the end; the loss is the mean
                of the utterances' CTC losses per symbol.
        """
        _refuse_attentions(self.config if output_attentions is None else output_attentions)
        states, frames = self.encode(input_values, attention_mask)
        head = self.encoder.head
        assert head is not None
        logits = head(states[-1])
        loss = None if labels is None else _ctc_loss(logits, frames, labels, head.blank)
        hidden = states if self._wants_states(output_hidden_states) else None
        output = CausalLMOutput(loss=loss, logits=logits, hidden_states=hidden)
        return output.to_tuple() if return_dict is False else output


def _folder(source: str | os.PathLike[str], hub: dict[str, Any]) -> Path:
    """Return a local folder, or download a model's folder."""
    if Path(source).is_dir():
        folder = Path(source)
    else:
        import huggingface_hub

        patterns = ["config.json", "model.safetensors"]
        folder = Path(
            huggingface_hub.snapshot_download(str(source), allow_patterns=patterns, **hub)
        )
    if not is_checkpoint(folder):
        read_config(folder)  # says what is wrong
    return folder


def _untrained(config: CompressedSpeechConfig) -> SpeechEncoder:
    encoder = SpeechEncoder(EncoderShape.model_validate(config.shape))
    encoder.normalize, encoder.normalize_eps = config.normalize, config.normalize_eps
    if config.head is not None:
        vocabulary = tuple(config.head["vocabulary"])
        encoder.head = CTCHead(encoder.shape.hidden, vocabulary, config.head["blank"])
    return encoder


def _device(device_map: Any) -> torch.device:
    if isinstance(device_map, dict):
        if set(device_map) != {""}:
            raise TypeError("device_map: the model is on one device; give {'': device}")
        device_map = device_map[""]
    if device_map == "auto":
        device_map = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(device_map)


def _refuse_attentions(asked: Any) -> None:
    if asked if isinstance(asked, bool) else getattr(asked, "output_attentions", False):
        raise ValueError(f"output_attentions: models of the type {MODEL_TYPE} do not return them")


def _ctc_loss(logits: Tensor, frames: Tensor, labels: Tensor, blank: int) -> Tensor:
    lengths = (labels >= 0).sum(-1)
    log_probabilities = F.log_softmax(logits, dim=-1, dtype=torch.float32).transpose(0, 1)
    return F.ctc_loss(
        log_probabilities, labels[labels >= 0], frames, lengths.cpu(), blank, zero_infinity=True
    )
