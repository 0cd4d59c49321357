from __future__ import annotations

import multiprocessing
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest

from s3prl_compress.common.errors import InputError
from s3prl_compress.s3prl_bridge import child
from s3prl_compress.s3prl_bridge.child import ChildTask
from s3prl_compress.s3prl_bridge.workers import last_line


@pytest.fixture
def _spawn() -> Iterator[None]:
    """As on macOS, and everywhere since Python 3.14."""
    before = multiprocessing.get_start_method(allow_none=True)
    multiprocessing.set_start_method("spawn", force=True)
    yield
    multiprocessing.set_start_method(before, force=True)


@pytest.mark.usefixtures("_spawn")
@pytest.mark.skipif(
    "fork" not in multiprocessing.get_all_start_methods(), reason="there is no fork here"
)
def test_the_engines_process_forks_its_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = ChildTask(
        task="ks", downstream="module:adapter", config={}, classes=(), checkpoint=None,
        padding="fairseq", seed=0, device="cpu", threads=1, test=False,
    )  # fmt: skip
    (tmp_path / "task.json").write_text(task.model_dump_json())
    methods = []
    monkeypatch.setattr(
        child, "_run", lambda *_: methods.append(multiprocessing.get_start_method())
    )
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert child.main(tmp_path) == 0
    assert methods == ["fork"]


def test_the_message_of_an_error_from_a_worker_is_one_line() -> None:
    with pytest.raises(InputError) as caught:
        raise InputError("a.wav: cannot be read")
    trace = "".join(traceback.format_exception(caught.value))
    from_worker = InputError(f"Caught InputError in DataLoader worker process 0.\n{trace}")
    assert last_line(from_worker) == last_line(caught.value) == "a.wav: cannot be read"
