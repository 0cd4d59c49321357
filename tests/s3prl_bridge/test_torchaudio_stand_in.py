from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from s3prl_compress.s3prl_bridge.torchaudio_stand_in import (
    ensure_torchaudio,
    ensure_torchaudio_on_import,
)

Install = Callable[[str, str], None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Put another torchaudio in place of the real one, for one test."""
    before = {name: module for name, module in sys.modules.items() if _is_torchaudio(name)}

    def write(package: str, extension: str) -> None:
        folder = tmp_path / "torchaudio"
        (folder / "_extension").mkdir(parents=True)
        (folder / "__init__.py").write_text(package)
        (folder / "_extension" / "__init__.py").write_text(extension)
        (folder / "_extension" / "utils.py").write_text("")
        _drop()
        monkeypatch.syspath_prepend(str(tmp_path))
        importlib.invalidate_caches()

    yield write
    _drop()
    sys.modules.update(before)


def _is_torchaudio(name: str) -> bool:
    return name.partition(".")[0] == "torchaudio"


def _drop() -> None:
    for name in [name for name in sys.modules if _is_torchaudio(name)]:
        del sys.modules[name]


def test_a_torchaudio_that_imports_is_left_alone(install: Install) -> None:
    install("from . import _extension\n", "available = True\n")
    assert ensure_torchaudio() is False
    assert sys.modules["torchaudio._extension"].available is True


def test_an_extension_that_cannot_load_is_replaced(install: Install) -> None:
    install(
        "from . import _extension\n"
        "from torchaudio._extension import _IS_RIR_AVAILABLE, fail_if_no_align\n"
        "from torchaudio._extension import utils\n"
        "@fail_if_no_align\n"
        "def align(): return 1\n",
        "from . import utils\nraise OSError('libc10_cuda.so')\n",
    )
    assert ensure_torchaudio() is True
    assert ensure_torchaudio() is True
    torchaudio = sys.modules["torchaudio"]
    assert torchaudio._IS_RIR_AVAILABLE is False
    with pytest.raises(RuntimeError, match="align needs torchaudio's compiled extension"):
        torchaudio.align()
    with pytest.raises(ImportError):
        exec("from torchaudio._extension import something_else")


def test_whoever_imports_torchaudio_first_gets_the_stand_in(install: Install) -> None:
    install("from . import _extension\n", "half_way = True\nraise RuntimeError('other CUDA')\n")
    finders = list(sys.meta_path)
    ensure_torchaudio_on_import()
    assert sys.meta_path == finders  # s3prl_compress has done it
    assert importlib.util.find_spec("torchaudio") is not None
    assert not [name for name in sys.modules if _is_torchaudio(name)]
    torchaudio = importlib.import_module("torchaudio")
    assert torchaudio._extension is sys.modules["torchaudio._extension"]
    assert not hasattr(torchaudio._extension, "half_way")
    assert torchaudio._extension._IS_ALIGN_AVAILABLE is False


def test_a_torchaudio_that_fails_for_another_reason_shows_its_own_error(install: Install) -> None:
    install("from . import _extension\nraise ValueError('of its own')\n", "")
    assert ensure_torchaudio() is False
    assert not [name for name in sys.modules if _is_torchaudio(name)]
    with pytest.raises(ValueError, match="of its own"):
        importlib.import_module("torchaudio")
