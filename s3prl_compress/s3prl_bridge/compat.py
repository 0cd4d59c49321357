"""Patches that s3prl 0.4.18 needs to run on current libraries, each applied only where needed.

Call `apply_patches()` before the first import of s3prl. It changes torchaudio, huggingface_hub,
torch and multiprocessing in memory, and nothing of s3prl itself. Line numbers in the comments are
those of s3prl 0.4.18.
"""

from __future__ import annotations

import argparse
import importlib
import logging
import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from importlib.util import module_from_spec
from pathlib import Path
from types import ModuleType
from typing import Any

from . import audio
from .torchaudio_stand_in import ensure_torchaudio

_log = logging.getLogger(__name__)
_applied: list[str] = []
_done = False


def apply_patches() -> list[str]:
    """Apply the patches that are needed; return the names of those applied in this process.

    Calling it again changes nothing and returns the same names.
    """
    global _done
    if not _done:
        for function in PATCHES:
            if function():
                _applied.append(function.__name__)
                _log.debug("s3prl patch applied: %s", function.__name__)
        _done = True
    return list(_applied)


def torchaudio_extension() -> bool:
    """`import torchaudio` fails beside a torch that it was not built for.

    Where: every module of s3prl that reads audio, and transformers >= 5. With torchaudio 2.11, the
    last on PyPI, beside a CPU build of torch or a build for another CUDA version.
    """
    return ensure_torchaudio()


def torchaudio_backends() -> bool:
    """`torchaudio.set_audio_backend` and its relatives are gone since torchaudio 2.9.

    Where: upstream/byol_s/byol_a/common.py:20 (so `import s3prl.hub` fails),
    dataio/dataset/load_audio.py:10, run_downstream.py. Nothing is left to choose: no-operations.
    """
    return _supply(
        "torchaudio",
        set_audio_backend=lambda *_: None,
        get_audio_backend=lambda: "soundfile",
        list_audio_backends=lambda: ["soundfile"],
    )


def torchaudio_info() -> bool:
    """`torchaudio.info` is gone since torchaudio 2.9.

    Where: dataio and util/audio_info.py. By soundfile instead.
    """
    return _supply("torchaudio", info=audio.information)


def torchaudio_sox_effects() -> bool:
    """`torchaudio.sox_effects` is gone since torchaudio 2.9, and before needed libsox installed.

    Where: upstream/mos_prediction/expert.py:9 (so `import s3prl.hub` fails) and
    downstream/speech_commands/dataset.py:5. Keyword spotting's effects in torch instead.
    """
    try:
        importlib.import_module("torchaudio.sox_effects").effect_names()
        return False
    except Exception:  # ImportError, or whatever loading libsox raises
        module = ModuleType("torchaudio.sox_effects", "Stand-in: keyword spotting's sox effects.")
        module.__dict__.update(
            apply_effects_file=audio.apply_effects_file,
            apply_effects_tensor=audio.apply_effects_tensor,
            effect_names=lambda: ["channels", "gain", "rate"],
        )
        sys.modules["torchaudio.sox_effects"] = module
        importlib.import_module("torchaudio").__dict__["sox_effects"] = module
        return True


def torchaudio_load() -> bool:
    """`torchaudio.load` and `save` need torchcodec since torchaudio 2.9.

    Where: every downstream's dataset, util/pseudo_data.py. By soundfile instead, unless torchcodec
    is there and works.
    """
    torchaudio = importlib.import_module("torchaudio")
    # Before 2.9 there was `torchaudio._backend`, which reads by soundfile itself.
    if torchaudio.load is audio.load or _importable("torchaudio._backend"):
        return False
    if _importable("torchcodec"):
        return False
    torchaudio.__dict__.update(load=audio.load, save=audio.save)
    return True


def huggingface_hub_names() -> bool:
    """`HfFolder` and `Repository` are gone since huggingface_hub 1.0.

    Where: downstream/runner.py:27, run_downstream.py:17. They serve `--push_to_hf_hub` only: the
    stand-ins fail when used.
    """

    def unavailable(*_: Any, **__: Any) -> None:
        raise RuntimeError("pushing to the hub from s3prl needs huggingface_hub before 1.0")

    methods = dict.fromkeys(("__init__", "get_token", "save_token", "delete_token"), unavailable)
    return _supply(
        "huggingface_hub",
        HfFolder=type("HfFolder", (), methods),
        Repository=type("Repository", (), methods),
    )


def torch_load_namespace() -> bool:
    """`torch.load` refuses checkpoints that hold an `argparse.Namespace` since torch 2.6.

    Where: downstream/runner.py:91, run_downstream.py:112 and 171: every evaluation and resume.
    That one class, which only holds values, is allowed; `weights_only` stays on.
    """
    serialization = importlib.import_module("torch").serialization
    if argparse.Namespace in serialization.get_safe_globals():
        return False
    serialization.add_safe_globals([argparse.Namespace])
    return True


def catalyst_sampler() -> bool:
    """`catalyst` is imported without being declared, and its releases end before Python 3.10.

    Where: downstream/speech_commands/expert.py:12. Its sampler serves distributed training only:
    the stand-in fails when used.
    """

    class DistributedSamplerWrapper:
        """Stand-in that fails when used."""

        def __init__(self, *_: Any, **__: Any) -> None:
            raise RuntimeError(
                "s3prl's keyword spotting on several devices needs catalyst, which cannot be "
                "imported here; run it on one device"
            )

    return _stand_in("catalyst.data.sampler", DistributedSamplerWrapper=DistributedSamplerWrapper)


def librosa_find_files() -> bool:
    """`librosa` is imported without being declared.

    Where: downstream/voxceleb1/dataset.py:4, which never uses it, and other corpora's
    preprocessing. Only its search for audio files is supplied.
    """

    def find_files(directory: str) -> list[str]:
        kinds = {".aac", ".au", ".flac", ".m4a", ".mp3", ".ogg", ".wav"}
        paths = Path(directory).rglob("*")
        return sorted(str(path.resolve()) for path in paths if path.suffix.lower() in kinds)

    return _stand_in("librosa.util", find_files=find_files)


def editdistance_eval() -> bool:
    """`editdistance` is imported without being declared.

    Where: downstream/asr/expert.py:4, metric/common.py. By rapidfuzz instead, which jiwer brings.
    """

    def evaluate(first: Any, second: Any) -> int:
        levenshtein = importlib.import_module("rapidfuzz.distance").Levenshtein
        return int(levenshtein.distance(first, second))

    return _stand_in("editdistance", eval=evaluate, distance=evaluate)


def worker_processes() -> bool:
    """Processes started by spawn or forkserver begin without any of these.

    Where: every data loader with workers, by default on macOS, on Windows and since Python 3.14.
    Unpickling what multiprocessing prepares such a process with now applies them there, before the
    data set arrives. `s3prl_compress` has to be importable there by itself. By fork all is there
    anyway.
    """
    spawn = importlib.import_module("multiprocessing.spawn")
    original = spawn.get_preparation_data
    if getattr(original, "__module__", "") == __name__:
        return False

    def get_preparation_data(name: str) -> dict[str, Any]:
        return original(name) | {"s3prl_compress": _PatchesWhenUnpickled()}

    spawn.__dict__["get_preparation_data"] = get_preparation_data
    return True


class _PatchesWhenUnpickled:
    def __reduce__(self) -> tuple[Callable[..., Any], tuple[()]]:
        return apply_patches, ()


PATCHES: tuple[Callable[[], bool], ...] = (
    torchaudio_extension,
    torchaudio_backends,
    torchaudio_info,
    torchaudio_sox_effects,
    torchaudio_load,
    huggingface_hub_names,
    torch_load_namespace,
    catalyst_sampler,
    librosa_find_files,
    editdistance_eval,
    worker_processes,
)
"""In this order: torchaudio has to be importable before it can be completed."""


def _supply(module: str, **attributes: Any) -> bool:
    """Set those of the attributes that the module lacks."""
    found = importlib.import_module(module)
    missing = [name for name in attributes if not hasattr(found, name)]
    for name in missing:
        setattr(found, name, attributes[name])
    return bool(missing)


def _importable(name: str) -> bool:
    try:
        importlib.import_module(name)
        return True
    except Exception:  # old packages fail in many ways on a new Python
        return False


def _stand_in(name: str, **attributes: Any) -> bool:
    """Put a module with these attributes where `name` cannot be imported.

    Only that module, without its parents: `from a.b import c` finds it, and whoever asks whether
    the package `a` is installed (transformers does, for librosa) still hears that it is not.
    """
    if _importable(name):
        return False
    module = module_from_spec(ModuleSpec(name, loader=None))
    module.__doc__ = "Stand-in by s3prl_compress."
    module.__dict__.update(attributes)
    sys.modules[name] = module
    return True
