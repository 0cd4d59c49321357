from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from s3prl_compress.s3prl_bridge import compat
from s3prl_compress.s3prl_bridge.torchaudio_stand_in import ensure_torchaudio

pytestmark = pytest.mark.s3prl

_FRESH_PROCESS = """
import sys
import s3prl_compress
assert not [name for name in sys.modules if name.partition(".")[0] == "s3prl"]
from importlib.machinery import PathFinder
class Without(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        absent = name.partition(".")[0] in ("catalyst", "librosa", "editdistance")
        return None if absent else PathFinder.find_spec(name, path, target)
sys.meta_path[sys.meta_path.index(PathFinder)] = Without
from s3prl_compress.s3prl_bridge.compat import apply_patches
applied = apply_patches()
assert {"catalyst_sampler", "librosa_find_files", "editdistance_eval"} <= set(applied), applied
assert apply_patches() == applied
import importlib
from transformers import HubertModel
import s3prl.hub, s3prl.downstream.runner
for task in ("speech_commands", "voxceleb1", "emotion", "asr"):
    importlib.import_module(f"s3prl.downstream.{task}.expert")
import editdistance
assert editdistance.eval(["a", "b", "c"], ["a", "c"]) == 1
"""


def test_a_fresh_process_imports_s3prl_only_when_asked_and_without_undeclared_packages() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _FRESH_PROCESS], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_mending_twice_changes_nothing() -> None:
    first = compat.apply_patches()
    import torchaudio

    load = torchaudio.load
    assert compat.apply_patches() == first
    assert torchaudio.load is load
    assert set(first) <= {function.__name__ for function in compat.PATCHES}


def test_what_is_there_is_not_replaced() -> None:
    compat.apply_patches()
    # Everything has been patched or needed no patch.
    needed = [function.__name__ for function in compat.PATCHES[1:] if function()]
    assert needed == []
    assert compat._supply("argparse", Namespace=None) is False
    assert argparse.Namespace is not None


def test_torchaudio_imports() -> None:
    stood_in = ensure_torchaudio()
    import torchaudio

    assert torchaudio.functional.resample(torch.zeros(1, 160), 16_000, 8_000).shape == (1, 80)
    assert ensure_torchaudio() is stood_in


def test_namespaces_load_and_other_classes_do_not(tmp_path: Path) -> None:
    compat.apply_patches()
    torch.save({"Args": argparse.Namespace(seed=1)}, tmp_path / "namespace.ckpt")
    assert torch.load(tmp_path / "namespace.ckpt", weights_only=True)["Args"].seed == 1
    torch.save({"Args": _Other()}, tmp_path / "other.ckpt")
    with pytest.raises(Exception, match="_Other"):
        torch.load(tmp_path / "other.ckpt", weights_only=True)


class _Other:
    pass


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_workers_have_the_mends_however_they_are_started(method: str, tiny_corpus: Path) -> None:
    compat.apply_patches()
    from s3prl.downstream.speech_commands.dataset import SpeechCommandsTestingDataset

    if method not in torch.multiprocessing.get_all_start_methods():
        pytest.skip(f"no {method} here")
    # A worker imports s3prl, and with it torchaudio, to unpickle the data set.
    clips = SpeechCommandsTestingDataset(
        speech_commands_test_root=str(tiny_corpus / "speech_commands_test")
    )
    loader = torch.utils.data.DataLoader(
        clips,
        batch_size=24,
        num_workers=2,
        collate_fn=clips.collate_fn,
        multiprocessing_context=method,
    )
    names = [name for _, _, files in loader for name in files]
    assert sorted(names) == sorted("-".join(path.parts[-2:]) for _, path in clips.data)
    assert len(names) == 48
