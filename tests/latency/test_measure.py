from __future__ import annotations

from pathlib import Path

import pytest
import torch

from s3prl_compress.common.errors import InputError
from s3prl_compress.encoder import NAMED_SHAPES, fingerprint, random_encoder, save
from s3prl_compress.latency import summary, time_table, time_upstreams, write_time_record
from s3prl_compress.results.records import TimeRecord, read_record

LENGTHS = (800, 1600, 2400, 3200, 4000, 4800, 5600, 6400)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    encoder = random_encoder(NAMED_SHAPES["hubert_tiny"], seed=1)
    return save(encoder, tmp_path_factory.mktemp("encoders") / "tiny")


@pytest.fixture(scope="module")
def record(folder: Path) -> TimeRecord:
    return time_upstreams(
        folder,
        folder,
        against_name="the same",
        repeats=12,
        warmup=1,
        threads=1,
        device="cpu",
        batch_size=3,
        lengths=LENGTHS,
    )


def test_a_thing_against_itself_is_about_as_fast(record: TimeRecord) -> None:
    overall = next(bucket for bucket in record.buckets if bucket.name == "all")
    assert overall.speedup is not None
    assert overall.interval is not None
    low, high = overall.interval
    # A wide margin around the interval: the machine may be busy, and 5 % of intervals miss.
    assert low * 0.5 < 1 < high * 2
    assert low <= overall.speedup <= high


def test_the_record_holds_every_bucket_and_every_time(record: TimeRecord, folder: Path) -> None:
    names = [bucket.name for bucket in record.buckets]
    assert names == ["short", "medium", "long", "longer", "all", "batched"]
    taken = [name for name in names if name != "all"]
    assert set(record.raw_seconds) == {f"{n}/{s}" for n in taken for s in ("this", "against")}
    assert all(len(values) == 12 for values in record.raw_seconds.values())
    overall = record.buckets[4]
    assert overall.audio_seconds == pytest.approx(sum(LENGTHS) / 16000)
    assert overall.rtfx == pytest.approx(overall.audio_seconds / overall.seconds)
    assert record.buckets[5].batch_size == 3
    assert record.upstream.name == "tiny"
    assert record.against is not None
    assert record.against.name == "the same"
    encoder = random_encoder(NAMED_SHAPES["hubert_tiny"], seed=1)
    assert record.upstream.checkpoint_sha256 == fingerprint(encoder)
    assert record.environment.threads == 1
    assert record.settings["lengths"] == sorted(LENGTHS)
    assert record.peak_memory_bytes >= 0


def test_a_record_survives_the_disk_and_is_never_overwritten(
    record: TimeRecord, tmp_path: Path
) -> None:
    first, second = write_time_record(record, tmp_path), write_time_record(record, tmp_path)
    assert first != second
    assert read_record(first) == read_record(second) == record


def test_table_and_summary_say_the_same(record: TimeRecord) -> None:
    figures = summary(record)
    assert set(figures) >= {"speedup", "interval", "rtfx"}
    table = time_table(record)
    assert f"{figures['speedup']:.3g} x" in table
    assert "tiny against the same" in table
    assert "peak memory" in table


def test_bfloat16_alone_leaves_the_given_encoder_as_it_is() -> None:
    encoder = random_encoder(NAMED_SHAPES["hubert_tiny"], seed=2)
    threads = torch.get_num_threads()
    record = time_upstreams(
        encoder, repeats=3, warmup=0, dtype="bfloat16", device="cpu", lengths=LENGTHS[:4]
    )
    assert record.dtype == "bfloat16"
    assert record.against is None
    assert all(bucket.speedup is None for bucket in record.buckets)
    assert any("interval is rough" in warning for warning in record.warnings)
    assert next(encoder.parameters()).dtype == torch.float32
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"repeats": 2}, "repeats 2"),
        ({"warmup": -1}, "warmup -1"),
        ({"threads": 0}, "threads 0"),
        ({"dtype": "int8"}, "dtype int8"),
        ({"batch_size": 0}, "batch size 0"),
        ({"utterances_per_bucket": 0}, "utterances per bucket"),
    ],
)
def test_wrong_numbers_are_named(wrong: dict[str, object], message: str) -> None:
    encoder = random_encoder(NAMED_SHAPES["hubert_tiny"])
    with pytest.raises(InputError, match=message):
        time_upstreams(encoder, **wrong)  # type: ignore[arg-type]


def test_a_noisy_machine_is_warned_about() -> None:
    from s3prl_compress.latency.assemble import _warnings

    quiet, noisy = [1.0] * 6, [1.0, 1.0, 1.2, 1.2, 1.4, 1.4]
    times = {"short/this": quiet, "short/against": noisy, "long/against": noisy}
    warnings = list(_warnings(times))
    assert len(warnings) == 1
    assert "of the other encoder is above 10% of the median (short 25%, long 25%)" in warnings[0]
