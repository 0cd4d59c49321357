"""TensorFloat-32 is off where scores and times are computed, and as before afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from s3prl_compress.common.precision import full_precision, uses_tf32
from s3prl_compress.encoder import NAMED_SHAPES, random_encoder
from s3prl_compress.evaluation import onepass, score
from s3prl_compress.latency import measure as timing
from s3prl_compress.latency import time_upstreams
from s3prl_compress.results.environment import environment
from s3prl_compress.s3prl_bridge import child
from s3prl_compress.tasks.base.engine import EngineResult, Job

QUICK = Path(__file__).parents[1] / "quick.yaml"


@pytest.fixture(autouse=True)
def _tf32() -> Iterator[None]:
    """TensorFloat-32 in everything, as a program may have it before it calls us."""
    cudnn: Any = torch.backends.cudnn
    before = cudnn.allow_tf32, torch.get_float32_matmul_precision()
    cudnn.allow_tf32 = True
    torch.set_float32_matmul_precision("medium")
    yield
    cudnn.allow_tf32 = before[0]
    torch.set_float32_matmul_precision(before[1])


def test_it_is_restored_even_after_an_error() -> None:
    with full_precision():
        assert not uses_tf32()
        assert not torch.backends.cudnn.allow_tf32
        assert torch.get_float32_matmul_precision() == "highest"
    assert uses_tf32()
    with pytest.raises(KeyError), full_precision():
        raise KeyError
    assert uses_tf32()
    assert torch.backends.cudnn.allow_tf32
    assert torch.get_float32_matmul_precision() == "medium"


def test_operators_that_were_set_apart_come_back_apart() -> None:
    cudnn: Any = torch.backends.cudnn
    if not hasattr(cudnn, "conv"):
        pytest.skip("torch < 2.9 has no such switches")
    cudnn.conv.fp32_precision = "ieee"
    with pytest.raises(RuntimeError):
        _ = cudnn.allow_tf32
    assert uses_tf32()  # cuDNN's LSTMs
    with full_precision():
        assert not uses_tf32()
        assert cudnn.rnn.fp32_precision == "ieee"
    assert (cudnn.conv.fp32_precision, cudnn.rnn.fp32_precision) == ("ieee", "tf32")


def test_an_engine_computes_without_it(
    tiny_corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[bool] = []
    original = onepass.run

    def looking(job: Job) -> EngineResult:
        seen.append(uses_tf32())
        return original(job)

    monkeypatch.setattr(onepass, "run", looking)
    encoder = random_encoder(NAMED_SHAPES["hubert_tiny"])
    record = score(encoder, "ks", data=tiny_corpus, output=tmp_path, recipe=QUICK, device="cpu")
    assert seen == [False]
    assert record.environment.tf32 is None  # there is none on a CPU
    assert uses_tf32()


def test_times_are_taken_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bool] = []

    def looking(device: str) -> Any:
        seen.append(uses_tf32())
        return environment(device)

    monkeypatch.setattr(timing, "environment", looking)
    encoder = random_encoder(NAMED_SHAPES["hubert_tiny"])
    time_upstreams(encoder, repeats=3, warmup=0, device="cpu", lengths=(800,) * 4)
    assert seen == [False]


def test_the_child_of_s3prl_computes_without_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[bool] = []
    monkeypatch.setattr(child, "_run", lambda task, folder: seen.append(uses_tf32()))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    task = child.ChildTask(
        task="ks",
        downstream="s3prl_compress.tasks.ks.downstream:KeywordSpotting",
        config={},
        classes=(),
        checkpoint=None,
        padding="fairseq",
        seed=0,
        device="cpu",
        threads=1,
        test=False,
    )
    (tmp_path / "task.json").write_text(task.model_dump_json())
    assert child.main(tmp_path) == 0
    assert seen == [False]


def test_records_of_a_gpu_say_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "A GPU")
    assert environment("cuda").tf32 is True
    with full_precision():
        assert environment("cuda:0").tf32 is False
    assert environment("cpu").tf32 is None
