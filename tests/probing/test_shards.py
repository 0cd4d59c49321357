"""Merged shards against features and frames that were computed in one piece."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from pkgutil import resolve_name

import pytest
import torch
from filelock import FileLock

from s3prl_compress.common.errors import InputError
from s3prl_compress.encoder import NAMED_SHAPES, SpeechEncoder, random_encoder
from s3prl_compress.evaluation.shards import missing_shards
from s3prl_compress.probing import (
    features,
    frame_extraction,
    frame_file,
    frames,
    pooling,
    shards,
)
from s3prl_compress.probing.shards import Shard, Sharding, stored_identities
from s3prl_compress.results.records import Padding
from s3prl_compress.tasks.base.engine import Job
from s3prl_compress.tasks.registry import find_task, open_corpus

from ..support.damage import flip_bit
from ..support.small_corpora import write_emotions, write_speakers, write_transcripts

COUNT = 4
SHARDS = [Shard(number, COUNT) for number in range(1, COUNT + 1)]


@pytest.fixture(scope="module")
def encoder() -> SpeechEncoder:
    return random_encoder(NAMED_SHAPES["hubert_tiny"])


@pytest.fixture(scope="module")
def corpora(tiny_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("shards")
    return {
        "ks": tiny_corpus,
        "sid": write_speakers(root / "sid", 5),
        "er": write_emotions(root / "er"),
        "asr": write_transcripts(root / "asr", ("ONE", "TWO", "THREE"), train=9),
    }


JobOf = Callable[..., Job]


@pytest.fixture
def job_of(encoder: SpeechEncoder, corpora: dict[str, Path], tmp_path: Path) -> JobOf:
    """Return a function that makes the job of a task, with its own cache."""

    def make(
        task: str,
        cache: str = "cache",
        *,
        padding: Padding = "independent",
        upstream: SpeechEncoder = encoder,
        **changes: object,
    ) -> Job:
        settings, _ = find_task(task).load_settings("smoke", "onepass")
        changes = {"crops_per_file": 5, "seconds_per_batch": 2.0, "padding": padding, **changes}
        return Job(
            encoder=upstream,
            checkpoint=None,
            task=find_task(task),
            corpus=open_corpus(corpora[task], task),
            settings=settings.model_copy(update=changes),
            seed=0,
            padding=padding,
            work=tmp_path / "work",
            device="cpu",
            cache=tmp_path / cache,
        )

    return make


def store(job: Job, shard: Shard) -> bool:
    if job.task.features == "frames":
        return frame_extraction.store_shard(job, shard)
    return features.store_shard(job, clips_of(job), shard)


def clips_of(job: Job) -> list[pooling.Clip]:
    clips: list[pooling.Clip] = resolve_name(job.task.clips)(job.task, job.corpus, job.settings)
    return clips


def load(job: Job) -> list[torch.Tensor]:
    """Return the features or frames of a job, row by row."""
    if job.task.features == "means":
        return list(features.features_of(job, clips_of(job)).values)
    found = frame_extraction.load_frames(
        job.encoder,  # type: ignore[arg-type]
        job.corpus,  # type: ignore[arg-type]
        padding=job.padding,
        cache=job.features_folder,
        seconds_per_batch=job.settings.seconds_per_batch,
    )
    return found.read(range(len(found.plan.items)))


def same(one: list[torch.Tensor], other: list[torch.Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sizes of the batches that went through an encoder."""
    sizes: list[int] = []

    def counting(original: Callable[..., object]) -> Callable[..., object]:
        def call(
            encoder: SpeechEncoder, waveforms: list[torch.Tensor], **options: object
        ) -> object:
            sizes.append(len(waveforms))
            return original(encoder, waveforms, **options)

        return call

    monkeypatch.setattr(pooling, "pool", counting(pooling.pool))
    monkeypatch.setattr(frames, "layer_frames", counting(frames.layer_frames))
    return sizes


@pytest.mark.parametrize(
    ("task", "padding"),
    [
        ("ks", "independent"),
        ("sid", "independent"),
        ("sid", "fairseq"),
        ("er", "independent"),
        ("asr", "independent"),
        ("asr", "fairseq"),
    ],
)
def test_merged_shards_are_the_whole_bit_for_bit(
    task: str, padding: Padding, job_of: JobOf, computed: list[int]
) -> None:
    whole = load(job_of(task, "whole", padding=padding))
    in_one_piece = sorted(computed)
    computed.clear()
    job = job_of(task, padding=padding)
    assert all(store(job, shard) for shard in reversed(SHARDS))
    assert sorted(computed) == in_one_piece
    assert not any(store(job, shard) for shard in SHARDS)  # they are there
    computed.clear()
    assert same(load(job), whole)
    assert computed == []
    files = {path.name: path.read_bytes() for path in job.features_folder.iterdir()}
    others = job_of(task, "whole", padding=padding).features_folder
    assert files == {path.name: path.read_bytes() for path in others.iterdir()}
    assert not store(job, SHARDS[0])
    assert len(list(job.features_folder.iterdir())) == 3


def test_shards_have_whole_batches_and_nearly_equal_lengths() -> None:
    generator = torch.Generator().manual_seed(0)
    samples = torch.randint(4_000, 64_000, (500,), generator=generator).tolist()
    sharding = Sharding(
        Path("x.npy"), {}, samples, torch.nn.Linear(1, 1), "independent", "cpu", 16.0
    )
    parts = [sharding.part(shard) for shard in SHARDS]
    assert sorted(row for part in parts for row in part.rows) == list(range(500))
    found = [[part.rows[place] for place in batch] for part in parts for batch in part.batches]
    assert sorted(found) == sorted(sharding.batches)
    loads = [sum(samples[row] for row in part.rows) for part in parts]
    assert max(loads) - min(loads) < 0.1 * max(loads)


def test_more_shards_than_batches_leave_some_empty(job_of: JobOf) -> None:
    whole, job = load(job_of("sid", "whole")), job_of("sid")
    stored = [store(job, Shard(number, 50)) for number in range(1, 51)]
    assert True in stored
    assert False in stored
    assert same(load(job), whole)


@pytest.mark.parametrize("task", ["sid", "asr"])
def test_what_is_missing_or_damaged_is_computed_by_the_cell(
    task: str, job_of: JobOf, computed: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    whole = load(job_of(task, "whole"))
    total = sum(computed)
    job = job_of(task)
    suffix = ".npy" if task == "sid" else ".frames"

    def file(shard: int) -> Path:
        (path,) = job.features_folder.glob(f"*.shard-{shard}-of-4-*{suffix}")
        return path

    damages: dict[str, Callable[[], None]] = {
        "killed before its index": lambda: file(2).with_suffix(".json").unlink(),
        "lost": lambda: file(2).unlink(),
        "cut": lambda: file(2).write_bytes(file(2).read_bytes()[:-40]) and None,
        "a flipped bit": lambda: flip_bit(file(2), 0.5),
        "a flipped bit in the index": lambda: flip_bit(file(2).with_suffix(".json"), 0.1),
    }
    for name, damage in damages.items():
        for shard in SHARDS:
            assert store(job, shard)
        damage()
        computed.clear()
        capsys.readouterr()
        assert same(load(job), whole), name
        assert 0 < sum(computed) < total / 2, name
        noticed = "computed again" in capsys.readouterr().err
        assert noticed == (name != "killed before its index"), name
        assert len(list(job.features_folder.iterdir())) == 3
        shutil.rmtree(job.features_folder)


def test_a_damaged_shard_is_computed_by_its_job_again(job_of: JobOf) -> None:
    whole, job = load(job_of("sid", "whole")), job_of("sid")
    assert store(job, SHARDS[1])
    (path,) = job.features_folder.glob("*.npy")
    flip_bit(path, 0.7)
    assert store(job, SHARDS[1])
    assert same(load(job), whole)


def test_a_killed_shard_of_frames_is_resumed(
    job_of: JobOf, computed: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    job, shard = job_of("asr", seconds_per_batch=0.5), Shard(1, 2)
    whole = load(job_of("asr", "whole", seconds_per_batch=0.5))
    monkeypatch.setattr(frame_file, "_SECONDS_BETWEEN_MARKS", 0.0)
    original, calls = frames.layer_frames, []

    def killed(
        encoder: SpeechEncoder, waveforms: list[torch.Tensor], **options: bool
    ) -> list[torch.Tensor]:
        calls.append(len(waveforms))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return original(encoder, waveforms, **options)

    with monkeypatch.context() as patch:
        patch.setattr(frames, "layer_frames", killed)
        with pytest.raises(KeyboardInterrupt):
            store(job, shard)
    assert not list(job.features_folder.glob("*.json"))
    computed.clear()
    assert store(job, shard)
    own = sum(calls[:2]) + sum(computed)
    assert own < len(whole)
    computed.clear()
    assert same(load(job), whole)
    assert own + sum(computed) == len(whole)


def test_shards_of_another_encoder_corpus_or_batch_are_not_merged(
    job_of: JobOf, computed: list[int], corpora: dict[str, Path], tmp_path: Path
) -> None:
    other = random_encoder(NAMED_SHAPES["hubert_tiny"], seed=1)
    longer = write_speakers(tmp_path / "other", 5, seconds=0.5)
    for task in ("sid", "asr"):
        whole = load(job_of(task, "whole"))
        job = job_of(task)
        for shard in (Shard(1, 2), Shard(2, 2)):
            store(job_of(task, upstream=other), shard)
        store(job_of(task, padding="fairseq"), shard)
        store(job_of(task, seconds_per_batch=1.0), shard)
        if task == "sid":
            corpora["sid"], first = longer, corpora["sid"]
            store(job_of(task), SHARDS[0])
            corpora["sid"] = first
        computed.clear()
        assert same(load(job), whole)
        assert sum(computed) == len(whole)
        # Those of the other encoder are still there for it.
        computed.clear()
        load(job_of(task, upstream=other))
        assert computed == []


@pytest.mark.parametrize("task", ["sid", "asr"])
def test_shards_of_two_numbers_are_merged(task: str, job_of: JobOf, computed: list[int]) -> None:
    whole, job = load(job_of(task, "whole")), job_of(task)
    assert store(job, SHARDS[2])
    assert store(job, Shard(1, 2))
    computed.clear()
    assert same(load(job), whole)
    assert sum(computed) <= len(whole) / 2
    assert len(list(job.features_folder.iterdir())) == 3


@pytest.mark.parametrize("task", ["sid", "asr"])
def test_all_shards_multiply_by_the_library_of_the_first(
    task: str, job_of: JobOf, monkeypatch: pytest.MonkeyPatch, computed: list[int]
) -> None:
    """Each process measures which library is faster, and not always with the same result."""
    monkeypatch.delenv("S3PRL_COMPRESS_LINEARS", raising=False)
    used: list[object] = []
    original = pooling.inference_copy

    def noting(encoder: SpeechEncoder, device: str, linears: str | None) -> SpeechEncoder:
        used.append(linears)
        return original(encoder, device, linears)  # type: ignore[arg-type]

    for module in (pooling, frame_extraction):
        monkeypatch.setattr(module, "inference_copy", noting)
    monkeypatch.setattr(shards, "choose_linears", lambda *_: "onednn")
    whole = load(job_of(task, "whole"))
    job = job_of(task)
    store(job, SHARDS[0])
    monkeypatch.setattr(shards, "choose_linears", lambda *_: "torch")
    for shard in SHARDS[1:3]:
        store(job, shard)
    assert same(load(job), whole)
    assert set(used) == {"onednn"}
    assert not list(job.features_folder.glob("*.linears"))


def test_a_shard_that_is_being_written_is_left_to_its_writer(job_of: JobOf) -> None:
    job = job_of("sid")
    store(job, SHARDS[0])
    (path,) = job.features_folder.glob("*.npy")
    with FileLock(path.with_suffix(".lock")):
        load(job)
        assert path.is_file()
    shutil.rmtree(job.features_folder)


def test_streamed_frames_have_no_shards(job_of: JobOf, computed: list[int]) -> None:
    assert not store(job_of("asr", frames="streamed"), SHARDS[0])
    assert computed == []


def test_too_little_space_ends_a_shard_as_it_ends_the_whole(
    job_of: JobOf, computed: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    job = job_of("asr")
    size = frames.bytes_of_frames(
        frames.plan_frames(job.corpus, job.encoder.shape, "independent"),  # type: ignore[arg-type]
        job.encoder.shape,  # type: ignore[arg-type]
    )
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(0, 0, size))  # type: ignore[attr-defined]
    assert not store(job, SHARDS[0])
    assert computed == []
    with pytest.raises(InputError, match=r"GB are free; give another folder"):
        store(job_of("asr", frames="stored"), SHARDS[0])


@pytest.mark.parametrize("task", ["ks", "asr"])
def test_missing_shards_are_known_without_the_encoder(task: str, job_of: JobOf) -> None:
    from s3prl_compress.encoder import fingerprint

    def missing(job: Job, count: int = COUNT) -> list[Shard]:
        return missing_shards(
            stored_identities(job.features_folder),
            count,
            encoder=fingerprint(job.encoder),
            task=task,
            corpus=job.corpus,
            settings=job.settings,
        )

    job = job_of(task)
    assert missing(job) == SHARDS
    store(job, SHARDS[1])
    assert missing(job) == [SHARDS[0], *SHARDS[2:]]
    assert len(missing(job, 3)) == 3
    assert missing(job_of(task, seconds_per_batch=1.0)) == SHARDS
    assert missing(job_of(task, padding="fairseq")) == SHARDS
    load(job)
    assert missing(job) == missing(job, 3) == []
    assert missing(job_of(task, seconds_per_batch=1.0)) == []
    if task == "ks":
        assert missing(job_of(task, crops_per_file=4)) == SHARDS
