"""Models for mteb, with which MAEB, its benchmark of audio embeddings, evaluates them.

    import mteb
    from s3prl_compress.maeb import mteb_model

    results = mteb.evaluate(mteb_model("out/fold30"), mteb.get_tasks(tasks=["CREMA_D"]))

An embedding is the mean of a hidden state over an utterance's own frames, by default of the last
one, as for the encoders in MAEB. Its scores have no standard errors.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from .common.errors import InputError
from .common.extras import require_extra
from .common.validation import pick_device
from .encoder import SAMPLING_RATE, SpeechEncoder, cost, fingerprint, load
from .encoder.inference import inference_copy
from .version import __version__

require_extra("maeb", __name__)

from mteb.models import ModelMeta  # noqa: E402
from mteb.models.abs_encoder import AbsEncoder  # noqa: E402
from mteb.models.modality_collators import AudioCollator  # noqa: E402
from mteb.similarity_functions import ScoringFunction  # noqa: E402

__all__ = ["MeanEmbedding", "mteb_model"]


class MeanEmbedding(AbsEncoder):
    """An encoder whose embedding of an utterance is the mean of a hidden state over its frames.

    The hidden states of an utterance do not depend on its batch, so clips are batched.

    Args:
        encoder: the encoder.
        layer: number of the hidden state, from 0; negative ones count from the end.
        device: by torch's name; by default cuda if it is available, and else cpu.

    Raises:
        InputError: there is no such hidden state, or no such device.
    """

    def __init__(
        self, encoder: SpeechEncoder, *, layer: int = -1, device: str | None = None
    ) -> None:
        states = encoder.shape.states
        if not -states <= layer < states:
            raise InputError(f"layer {layer}: the model has hidden states 0 to {states - 1}")
        device = pick_device(device)
        self.model = inference_copy(encoder.to(device).eval(), device)
        self.layer = layer
        self._collate = AudioCollator(
            target_sampling_rate=SAMPLING_RATE, min_samples=encoder.shape.minimum_samples
        )

    def encode(self, inputs: Any, **kwargs: Any) -> NDArray[np.float32]:
        """Return the embeddings of clips, [clips, hidden].

        Args:
            inputs: mteb's data loader of clips; their sampling rates and channels are converted.
            kwargs: of mteb; only `show_progress_bar` has an effect.

        Raises:
            InputError: the inputs are not audio.
        """
        if "audio" not in inputs.dataset.features:
            raise InputError("mteb: the task has no audio; the model encodes nothing else")
        inputs.collate_fn = self._collate
        shown = kwargs.get("show_progress_bar", True)
        batches = tqdm(inputs, desc="embedding", unit="batch", disable=not shown, file=sys.stderr)
        return np.concatenate([self._embed(batch["audio"]) for batch in batches])

    @torch.inference_mode()
    def _embed(self, clips: Iterable[dict[str, Any]]) -> NDArray[np.float32]:
        """Return the embeddings of a batch."""
        device = self.model.device
        waveforms = [
            torch.tensor(np.asarray(clip["array"]), dtype=torch.float32, device=device).reshape(-1)
            for clip in clips
        ]
        states, frames = self.model(waveforms)
        means = [
            state[:count].mean(0)
            for state, count in zip(states[self.layer], frames.tolist(), strict=True)
        ]
        embeddings: NDArray[np.float32] = torch.stack(means).float().cpu().numpy()
        return embeddings


def mteb_model(
    source: str | Path | SpeechEncoder,
    *,
    name: str | None = None,
    layer: int = -1,
    device: str | None = None,
) -> ModelMeta:
    """Return a model for `mteb.evaluate`.

    Args:
        source: what `s3prl_compress.load` takes, or an encoder.
        name: "owner/name" in mteb's results; by default "s3prl_compress/" and the last part of
            `source`.
        layer: see `MeanEmbedding`, as for `device`.
        device: see there.

    Raises:
        InputError: the model cannot be loaded, or there is no such hidden state.
    """
    encoder = source if isinstance(source, SpeechEncoder) else load(source)
    counted = cost(encoder)
    own = "encoder" if isinstance(source, SpeechEncoder) else Path(source).name

    # Made here, so that mistakes are found before a task's data are fetched.
    model: Any = MeanEmbedding(encoder, layer=layer, device=device)
    return ModelMeta(
        loader=lambda *_, **__: model,
        name=name or f"s3prl_compress/{own}",
        # Results of other weights or another layer are not mixed with these.
        revision=f"{fingerprint(encoder)[:16]}-{layer}-{__version__}",
        release_date=None,
        languages=None,
        n_parameters=counted.parameters,
        memory_usage_mb=counted.bytes / 2**20,
        max_tokens=None,
        embed_dim=encoder.shape.hidden,
        license=None,
        open_weights=True,
        public_training_code=None,
        public_training_data=None,
        framework=["PyTorch"],
        similarity_fn_name=ScoringFunction.COSINE,
        use_instructions=False,
        training_datasets=None,
        adapted_from=encoder.provenance.hub_id,
        modalities=["audio"],
    )
