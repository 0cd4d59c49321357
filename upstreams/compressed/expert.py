"""Any encoder of s3prl_compress as an s3prl upstream."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import yaml
from torch import Tensor

from s3prl_compress.encoder import PADDINGS, load
from s3prl_compress.encoder.frames import SUPERB_STRIDE, superb_frames
from s3prl_compress.errors import InputError
from s3prl_compress.reporting.records import Padding
from s3prl_compress.s3prl_bridge.mends import mend

mend()

from s3prl.upstream.interfaces import UpstreamBase  # noqa: E402  (not before the mends)


class UpstreamExpert(UpstreamBase):
    """An encoder with s3prl's contract for upstreams: the same in train and in eval mode.

    Args:
        ckpt: what `s3prl_compress.load` takes: a folder of ours, a transformers folder, an
            s3prl-converted `.pt`, or a hub id. s3prl's option `-k`.
        model_config: the padding, as a bare word or as a YAML file that holds `padding: fairseq`.
            s3prl's option `-g`; it wins over `padding`.
        padding: "independent": an utterance has `round(samples / 320)` frames, and the same ones
            alone as in any batch. "fairseq": frames and masks as in s3prl's own upstreams.
    """

    def __init__(
        self,
        ckpt: str | Path | None = None,
        model_config: str | Path | None = None,
        padding: Padding = "independent",
        **_: Any,
    ) -> None:
        super().__init__()
        if not ckpt:
            raise InputError(
                "upstream compressed: no checkpoint; give a folder or hub id "
                "(-k FOLDER, or path_or_url=FOLDER)"
            )
        self.encoder = load(ckpt, padding=read_padding(model_config, padding))

    def get_downsample_rates(self, key: str | None = None) -> int:
        """Return samples per frame, the same for every hidden state."""
        return SUPERB_STRIDE

    def forward(self, wavs: Sequence[Tensor]) -> dict[str, Any]:
        """Map 1-D waveforms at 16 kHz to `hidden_states`, L + 1 tensors [batch, frames, width].

        State i is the input of layer i, the last is the encoder's output (`last_hidden_state`
        too). With independent padding an utterance's last valid frame fills its row to the end.
        """
        states, counts = self.encoder(wavs)
        if self.encoder.padding == "independent":
            states = superb_frames(states, counts, [len(wav) for wav in wavs])
        return {"hidden_states": list(states), "last_hidden_state": states[-1]}


def read_padding(model_config: str | Path | None, default: Padding) -> Padding:
    """Return the padding that s3prl's `-g` names; `default` where it is absent.

    Anything but one of `PADDINGS`, bare or below `padding:` in a YAML file, is an `InputError`.
    """
    if model_config is None or model_config == "":
        value: object = default
        where = "padding"
    elif str(model_config) in PADDINGS:
        return cast(Padding, str(model_config))
    else:
        where = f"model config {model_config}"
        value = _padding_of_file(Path(model_config), where, default)
    if value not in PADDINGS:
        raise InputError(f"{where}: {value!r} is no padding; choose {' or '.join(PADDINGS)}")
    return cast(Padding, value)


def _padding_of_file(path: Path, where: str, default: Padding) -> object:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(
            f"{where}: neither {' nor '.join(PADDINGS)} nor a YAML file that can be read"
        ) from error
    if not isinstance(content, dict) or not set(content) <= {"padding"}:
        raise InputError(f"{where}: must hold one line, `padding: {PADDINGS[1]}`")
    return content.get("padding", default)
