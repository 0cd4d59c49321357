"""Any encoder of s3prl_compress as an s3prl upstream."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict
from torch import Tensor

from s3prl_compress.common.errors import InputError
from s3prl_compress.common.yaml_files import parse, read_text, validated
from s3prl_compress.encoder import PADDINGS, load
from s3prl_compress.encoder.frames import SUPERB_STRIDE, superb_frames
from s3prl_compress.results.records import Padding
from s3prl_compress.s3prl_bridge.compat import apply_patches

apply_patches()

from s3prl.upstream.interfaces import UpstreamBase  # noqa: E402  (not before the mends)


class UpstreamExpert(UpstreamBase):
    """An encoder with s3prl's contract for upstreams: the same in train and in eval mode.

    Args:
        ckpt: what `s3prl_compress.load` takes: a folder of ours, a transformers folder, an
            s3prl-converted `.pt`, or a hub id. s3prl's option `-k`.
        model_config: the padding as a bare word, or a YAML file with the keys `padding` and
            `normalize`. s3prl's option `-g`; it wins over the two arguments below.
        padding: "independent": an utterance has `round(samples / 320)` frames, and the same ones
            alone as in any batch. "fairseq": frames and masks as in s3prl's own upstreams.
        normalize: bring waveforms to zero mean and unit variance first; what the checkpoint says
            if None.
        refresh: passed by s3prl; has no effect.
        unknown: refused. They are named here because s3prl passes on whatever `extra_conf` holds.

    Raises:
        InputError: no checkpoint, or an option that does not exist.
    """

    def __init__(
        self,
        ckpt: str | Path | None = None,
        model_config: str | Path | None = None,
        padding: Padding = "independent",
        normalize: bool | None = None,
        refresh: bool = False,
        **unknown: Any,
    ) -> None:
        super().__init__()
        if unknown:
            raise InputError(
                f"upstream compressed: no option {', '.join(sorted(unknown))}; there are ckpt, "
                "model_config, padding and normalize"
            )
        if not ckpt:
            raise InputError(
                "upstream compressed: no checkpoint; give a folder or hub id "
                "(-k FOLDER, or path_or_url=FOLDER)"
            )
        options = read_options(model_config, padding=padding, normalize=normalize)
        self.encoder = load(ckpt, padding=options.padding, normalize=options.normalize)
        # s3prl's own upstreams take clips of less than one frame.
        self.encoder.pad_short = True

    def get_downsample_rates(self, key: str | None = None) -> int:
        """Return samples per frame, the same for every hidden state."""
        return SUPERB_STRIDE

    def forward(self, wavs: Sequence[Tensor]) -> dict[str, Any]:
        """Map 1-D waveforms at 16 kHz to `hidden_states`, L + 1 tensors [batch, frames, width].

        State i is the input of layer i, and stands under `hidden_state_{i}`, too; the last is the
        encoder's output (`last_hidden_state`). With independent padding an utterance's last valid
        frame fills its row to the end.
        """
        states, counts = self.encoder(wavs)
        if self.encoder.padding == "independent":
            states = superb_frames(states, counts, [len(wav) for wav in wavs])
        single = {f"hidden_state_{number}": state for number, state in enumerate(states)}
        return {"hidden_states": list(states), "last_hidden_state": states[-1], **single}


class UpstreamOptions(BaseModel):
    """The keys of a model config."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    padding: Padding = "independent"
    normalize: bool | None = None


def read_options(model_config: str | Path | None, **default: Any) -> UpstreamOptions:
    """Return what s3prl's `-g` says: a padding, or a YAML file; `default` for what it does not say.

    Raises:
        InputError: it is neither, or a key or a value is not known.
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
