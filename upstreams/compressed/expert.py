"""The s3prl upstream for encoders of s3prl_compress."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict
from torch import Tensor

from s3prl_compress.common.errors import InputError
from s3prl_compress.common.yaml_files import parse, read_text, validated
from s3prl_compress.encoder import PADDINGS, SpeechEncoder, load_unless_loaded
from s3prl_compress.encoder.exported import ExportedEncoder
from s3prl_compress.encoder.frames import superb_frames
from s3prl_compress.encoder.front_ends.whisper import Pad
from s3prl_compress.results.records import Padding
from s3prl_compress.s3prl_bridge.compat import apply_patches

apply_patches()

from s3prl.upstream.interfaces import UpstreamBase  # noqa: E402  (s3prl needs the patches)


class UpstreamExpert(UpstreamBase):
    """An encoder with s3prl's contract for upstreams: the same in train and in eval mode.

    Args:
        ckpt: anything that `s3prl_compress.load` accepts: a checkpoint folder, a transformers
            folder, an s3prl-converted `.pt`, a Whisper model, or a hub id; or an exported model
            (ONNX, OpenVINO), which runs on the CPU. s3prl's option `-k`.
        model_config: the padding itself ("fairseq"), or a YAML file with the keys `padding`,
            `normalize` and `pad`. s3prl's option `-g`; it overrides the three arguments below.
        padding: "independent": an utterance has `round(samples / stride)` frames, which do not
            depend on its batch. "fairseq": frames and masks are those of s3prl's own upstreams.
        normalize: whether waveforms are normalised to zero mean and unit variance; None: as the
            checkpoint says.
        refresh: passed by s3prl, and ignored.
        pad: for Whisper only: whether utterances are padded to 30 s ("full") or not ("none"); None:
            as the checkpoint says.
        unknown: rejected with a message. s3prl passes on everything in `extra_conf`.

    Raises:
        InputError: there is no checkpoint, or an option does not exist.
    """

    def __init__(
        self,
        ckpt: str | Path | None = None,
        model_config: str | Path | None = None,
        padding: Padding = "independent",
        normalize: bool | None = None,
        refresh: bool = False,
        pad: Pad | None = None,
        **unknown: Any,
    ) -> None:
        super().__init__()
        if unknown:
            raise InputError(
                f"upstream compressed: no option {', '.join(sorted(unknown))}; there are "
                "ckpt, model_config, padding, normalize and pad"
            )
        if not ckpt:
            raise InputError(
                "upstream compressed: no checkpoint; give a folder or hub id "
                "(-k FOLDER, or path_or_url=FOLDER)"
            )
        options = read_options(model_config, padding=padding, normalize=normalize, pad=pad)
        encoder = load_unless_loaded(ckpt, **options.model_dump())
        assert isinstance(encoder, SpeechEncoder | ExportedEncoder)  # all that a path can name
        self.encoder = encoder
        # s3prl's own upstreams accept clips shorter than one frame.
        self.encoder.pad_short = True

    def get_downsample_rates(self, key: str | None = None) -> int:
        """Return the number of samples per frame, which is the same for every hidden state."""
        return self.encoder.shape.frame_stride

    def forward(self, wavs: Sequence[Tensor]) -> dict[str, Any]:
        """Map 1-D waveforms at 16 kHz to hidden states.

        Returns:
            `hidden_states`, L + 1 tensors [batch, frames, width]: state i is the input of layer i,
            and the last one is the encoder's output. Each is also there by itself, as
            `hidden_state_{i}` and `last_hidden_state`. With independent padding, the last valid
            frame of a shorter utterance is repeated to the end.
        """
        states, counts = self.encoder(wavs)
        if self.encoder.padding == "independent":
            states = superb_frames(
                states, counts, [len(wav) for wav in wavs], self.encoder.shape.frame_stride
            )
        single = {f"hidden_state_{number}": state for number, state in enumerate(states)}
        return {"hidden_states": list(states), "last_hidden_state": states[-1], **single}


class UpstreamOptions(BaseModel):
    """The keys of a model config."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    padding: Padding = "independent"
    normalize: bool | None = None
    pad: Pad | None = None


def read_options(model_config: str | Path | None, **default: Any) -> UpstreamOptions:
    """Return the options in s3prl's `-g`, a padding or a YAML file, and `default` for the others.

    Raises:
        InputError: it is neither of the two, or a key or a value is unknown.
    """
    if model_config is None or model_config == "":
        return validated(UpstreamOptions, default, "upstream compressed")
    where = f"model config {model_config}"
    given: Any = {"padding": str(model_config)}
    if str(model_config) not in PADDINGS:
        path = Path(model_config)
        if not path.is_file():
            raise InputError(f"{where}: neither {' nor '.join(PADDINGS)} nor a YAML file")
        given = parse(read_text(path), where)
        if not isinstance(given, dict):
            raise InputError(f"{where}: must hold `key: value` lines, such as `padding: fairseq`")
    return validated(UpstreamOptions, default | given, where)
