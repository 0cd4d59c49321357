"""A dry run: what it lists, what it takes for granted, and that it writes nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from s3prl_compress.encoder import LEADERBOARD_SAMPLES, NAMED_SHAPES, random_encoder, save
from s3prl_compress.evaluation import Settings, score
from s3prl_compress.results.records import ScoreRecord, read_record, read_records
from s3prl_compress.s3prl_bridge import engine as s3prl_engine
from s3prl_compress.suite import estimate, estimate_table, head_times, run_suite
from s3prl_compress.suite.corpora import CorpusFacts, corpus_facts
from s3prl_compress.suite.sizes import UpstreamSize
from s3prl_compress.suite.suite_file import read_suite
from s3prl_compress.tasks.base.task import RecognitionHead

from ..evaluation.test_rates import made_up_result

QUICK = Path(__file__).parent.parent / "quick.yaml"


@pytest.fixture
def suite(tiny_corpus: Path, tmp_path: Path) -> Path:
    content: dict[str, Any] = {
        "output": str(tmp_path / "out"),
        "upstreams": [
            {"name": "tiny", "random": {"shape": "hubert_tiny"}},
            {"name": "half", "from": "tiny", "method": "magnitude"},
        ],
        "tasks": [
            {"task": "ks", "data": str(tiny_corpus), "recipe": str(QUICK)},
            {"task": "ks", "data": "demo", "recipe": str(QUICK), "engines": ["onepass", "s3prl"]},
        ],
        "seeds": [0, 1],
        "time": {"against": "tiny"},
        "device": "cpu",
        "threads": 1,
    }
    path = tmp_path / "suite.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def by_title(figures: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The cells of the first task come first: titles do not tell apart tasks on one corpus."""
    found: dict[str, dict[str, Any]] = {}
    for cell in figures["cells"]:
        found.setdefault(cell["cell"], cell)
    return found


def test_it_agrees_with_what_a_run_writes(
    suite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_process: None
) -> None:
    monkeypatch.setattr(estimate, "_speed", lambda device: 1e9)
    cells = by_title(run_suite(suite, dry_run=True).data)
    assert not (tmp_path / "out").exists()
    first, second = (
        cells["ks tiny_corpus0 tiny onepass seed 0"],
        cells["ks tiny_corpus0 tiny onepass seed 1"],
    )
    assert (first["basis"], first["done"]) == ("rule of thumb", False)
    # Seeds share features: only the first makes them.
    assert first["bytes"] > second["bytes"] == 0
    assert first["seconds"] > second["seconds"] > 0  # each trains heads of its own
    assert cells["time half"]["seconds"] > 0

    only = "ks tiny_corpus0 tiny onepass seed 0"
    assert run_suite(suite, only=only).exit_code == 0
    sizes = sorted(path.stat().st_size for path in (tmp_path / "out").rglob("*.npy"))
    header = 128
    assert first["bytes"] in [size - header for size in sizes]

    cells = by_title(run_suite(suite, dry_run=True).data)
    assert cells["upstream tiny"]["done"]
    assert cells["ks tiny_corpus0 tiny onepass seed 0"]["done"]
    assert not cells["ks tiny_corpus0 tiny onepass seed 1"]["done"]
    # The other upstream is taken to need what this one's record says.
    assert cells["ks tiny_corpus0 half onepass seed 0"]["basis"] == "past records"

    # A record of seeds that were trained together has its share of the features' time.
    for path in (tmp_path / "out" / "records").glob("*.json"):
        record = json.loads(path.read_text())
        path.write_text(json.dumps(record | {"seeds_together": 5}))
    again = by_title(run_suite(suite, dry_run=True).data)
    features = [
        found["ks tiny_corpus0 half onepass seed 0"]["seconds"]
        - found["ks tiny_corpus0 half onepass seed 1"]["seconds"]
        for found in (cells, again)
    ]
    assert features[1] == pytest.approx(5 * features[0])
    assert features[0] > 0


def test_a_corpus_that_is_not_prepared_cannot_be_estimated(
    suite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(estimate, "_speed", lambda device: 1e9)
    answer = run_suite(suite, dry_run=True, only="ks * s3prl *")
    scores = [cell for cell in answer.data["cells"] if cell["cell"].startswith("ks")]
    assert len(scores) == 4
    assert {cell["basis"] for cell in scores} == {"the corpus is not prepared yet"}
    assert all(cell["seconds"] is None and cell["bytes"] > 0 for cell in scores)
    assert answer.data["not_estimated"] == 4
    assert "4 of them could not be estimated" in answer.text
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (None, "?"),
        (0, "0 s"),
        (89, "89 s"),
        (90, "1.5 min"),
        (7200, "2.0 h"),
        (1e6, "11.6 days"),
    ],
)
def test_durations_as_a_person_says_them(seconds: float | None, words: str) -> None:
    assert estimate_table.duration(seconds) == words


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Speeds of some machine, in place of this one's: 1e12 operations a second, and heads'."""
    monkeypatch.setattr(estimate, "_speed", lambda device: 1e12)
    for name, fixed, unit in (
        ("_parallel_heads", 4e-3, 2e-5),
        ("_recogniser", 0.02, 1e-5),
        ("_frame_head", 1e-3, 1e-6),
    ):
        time = head_times.UpdateTime(fixed, unit)
        monkeypatch.setattr(head_times, name, lambda *_, time=time: time)


def paper_table(**changes: Any) -> Path:
    tasks = [
        {
            "task": task,
            "data": f"corpora/{task}",
            "recipe": "official",
            "engines": ["onepass", "s3prl"],
        }
        for task in ("ks", "sid", "er", "asr")
    ]
    content = {
        "output": "out",
        "upstreams": [{"name": "base", "random": {"shape": "hubert_base"}}],
        "tasks": tasks,
        "device": "cpu",
    }
    path = Path("suite.yaml")
    path.write_text(yaml.safe_dump(content | changes))
    return path


@pytest.mark.usefixtures("measured")
def test_a_paper_table_is_estimated_before_its_corpora_are_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    answer = run_suite(paper_table(seeds=[0, 1, 2]), dry_run=True)
    cells = by_title(answer.data)
    assert "official corpus" in cells["asr base onepass seed 0"]["basis"]
    # The reference's own figures: 40 kB an utterance; a checkpoint of ASR takes 505 MB.
    assert cells["ks base onepass seed 0"]["bytes"] / (60_973 + 6 * 512) == 13 * 768 * 4
    assert cells["asr base s3prl seed 0"]["bytes"] / 3 == pytest.approx(505e6, rel=0.02)
    # 13 states of 768 numbers, two bytes each, for about 111 hours at 50 frames a second.
    assert cells["asr base onepass seed 0"]["bytes"] == pytest.approx(4.0e11, rel=0.05)
    assert cells["er base s3prl seed 0"]["seconds"] > cells["er base onepass seed 0"]["seconds"]

    # Later seeds find the frames, and train seven heads over 200,000 updates all the same.
    for seed in (1, 2):
        cell = cells[f"asr base onepass seed {seed}"]
        updates = 7 * 200_000 * (0.02 + 1e-5 * 16 * 12.7 * 50)
        assert cell["seconds"] == pytest.approx(updates, rel=0.05)
        assert cell["seconds"] > 10 * 3600
        assert cell["bytes"] == 0
    ks = cells["ks base onepass seed 1"]["seconds"]
    assert ks == pytest.approx(200_000 * (4e-3 + 2e-5 * 32), rel=0.1)

    parts = {(part["task"], part["engine"]): part for part in answer.data["summary"]}
    assert set(parts) == {("upstreams", None)} | {
        (task, engine) for task in ("ks", "sid", "er", "asr") for engine in ("onepass", "s3prl")
    }
    asr = [cell for cell in answer.data["cells"] if cell["cell"].startswith("asr base onepass")]
    assert parts["asr", "onepass"]["cells"] == len(asr) == 3
    assert parts["asr", "onepass"]["seconds"] == sum(cell["seconds"] for cell in asr)
    assert sum(part["seconds"] for part in parts.values()) == pytest.approx(answer.data["seconds"])
    lines = answer.text.splitlines()
    assert next(line.split()[:2] for line in lines if line.startswith("asr")) == ["asr", "onepass"]
    assert lines.index("") < next(n for n, line in enumerate(lines) if "base onepass seed" in line)


@pytest.mark.usefixtures("measured")
def test_a_rate_by_one_pass_is_one_run_and_its_own_cell_or_comes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    task = {"task": "ks", "data": "corpora/ks", "recipe": "official"}
    both = by_title(
        run_suite(paper_table(tasks=[task | {"engines": ["s3prl", "onepass"]}]), dry_run=True).data
    )
    alone = by_title(
        run_suite(
            paper_table(tasks=[task | {"engines": ["s3prl"]}], seeds=[0, 1]), dry_run=True
        ).data
    )
    swept = Path("swept.yaml")
    swept.write_text(
        "extends: official\nengines:\n  s3prl: {learning_rates: [1.e-1, 1.e-2, 1.e-3]}\n"
    )
    three = by_title(
        run_suite(
            paper_table(tasks=[task | {"engines": ["s3prl"], "recipe": str(swept.absolute())}]),
            dry_run=True,
        ).data
    )
    title = "ks base s3prl seed 0"
    assert both[title]["basis"] == alone["ks base s3prl seed 1"]["basis"]
    assert alone[title]["basis"].endswith("; one-pass first")
    first = both["ks base onepass seed 0"]
    for key in ("seconds", "bytes"):
        assert alone[title][key] == pytest.approx(both[title][key] + first[key])
    assert three[title]["seconds"] is None  # only of `official` the corpus's size is known


def test_a_small_run_takes_about_what_was_estimated(
    suite: Path, monkeypatch: pytest.MonkeyPatch, in_process: None
) -> None:
    """With the speeds that the run itself had, the formulas must give back its seconds."""
    only = "ks tiny onepass seed 0"
    content = yaml.safe_load(suite.read_text())
    suite.write_text(yaml.safe_dump(content | {"tasks": content["tasks"][:1]}))
    assert run_suite(suite, only=only).exit_code == 0
    ((_, record),) = read_records(suite.parent / "out" / "records")
    assert isinstance(record, ScoreRecord)
    assert record.upstream.cost is not None
    updates = record.settings["total_steps"]
    update = head_times.UpdateTime(record.seconds["heads"] / updates, 0.0)
    monkeypatch.setattr(head_times, "_parallel_heads", lambda *_: update)
    corpus = corpus_facts(read_suite(suite).tasks[0], suite.parent)
    assert corpus.all_seconds is not None
    operations = 2 * record.upstream.cost.macs_32 / (sum(LEADERBOARD_SAMPLES) / 16_000)
    speed = operations * corpus.all_seconds / record.seconds["features"]
    monkeypatch.setattr(estimate, "_speed", lambda device: speed)
    estimated = []
    for per_recording in (0.0, 1.0):
        monkeypatch.setattr(estimate, "_SECONDS_PER_RECORDING", per_recording)
        cells = by_title(
            run_suite(suite, output=suite.parent / "elsewhere", only=only, dry_run=True).data
        )
        assert cells[only]["basis"] == "rule of thumb"
        estimated.append(cells[only]["seconds"])
    assert 1 / 3 < estimated[0] / record.seconds["total"] < 3
    assert corpus.clips is not None
    assert estimated[1] - estimated[0] == pytest.approx(corpus.clips)

    # By its record: of another seed, heads alone; of a larger upstream, features in proportion.
    cells = by_title(run_suite(suite, dry_run=True).data)
    assert cells["ks tiny onepass seed 1"]["basis"] == "past records"
    heads = record.seconds["total"] - record.seconds["features"]
    assert cells["ks tiny onepass seed 1"]["seconds"] == pytest.approx(heads)


def test_heads_are_measured_at_their_size() -> None:
    size = UpstreamSize(states=3, hidden=16, macs_32=1, bytes=1)
    corpus = CorpusFacts(
        train=20, dev=5, test=5, train_seconds=1.0, dev_seconds=1.0, test_seconds=1.0, classes=4
    )
    same = {"batch_size": 4, "eval_step": 10, "projector_dim": 8}
    short = Settings(total_steps=10, learning_rates=(0.1,), **same)
    long = Settings(total_steps=10_000, learning_rates=(0.1,), **same)
    small = RecognitionHead(project_dim=8, rnn_dim=8, rnn_layers=1, specaug=False)
    for onepass, recognition, ctc in (
        (True, None, False),
        (False, None, False),
        (True, None, True),
        (False, None, True),
        (True, small, True),
        (False, small, True),
    ):
        seconds = [
            head_times.head_seconds(
                settings.model_copy(update={"recognition": recognition}),
                size,
                corpus,
                onepass=onepass,
                device="cpu",
                ctc=ctc,
            )
            for settings in (short, long)
        ]
        assert 0 < seconds[0] < seconds[1]
        assert seconds[1] / seconds[0] == pytest.approx(1000, rel=0.2)
    rates = long.model_copy(update={"learning_rates": (0.1, 0.2), "recognition": small})
    twice = head_times.head_seconds(rates, size, corpus, onepass=True, device="cpu", ctc=True)
    assert twice == pytest.approx(2 * seconds[1], rel=0.01)


def test_each_text_of_an_evaluation_takes_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    size = UpstreamSize(states=3, hidden=16, macs_32=1, bytes=1)
    corpus = CorpusFacts(
        train=20, dev=5, test=7, train_seconds=1.0, dev_seconds=1.0, test_seconds=1.0, classes=4
    )
    settings = Settings(
        total_steps=30, eval_step=10, batch_size=4, projector_dim=8, learning_rates=(0.1, 0.2)
    )

    def seconds(*, ctc: bool) -> float:
        return head_times.head_seconds(settings, size, corpus, onepass=True, device="cpu", ctc=ctc)

    before = [seconds(ctc=True), seconds(ctc=False)]
    monkeypatch.setattr(head_times, "_SECONDS_PER_TEXT", 1 + head_times._SECONDS_PER_TEXT)
    # Two rates, three evaluations of the dev set each; the test set once.
    assert seconds(ctc=True) - before[0] == pytest.approx(2 * 3 * 5 + 7)
    assert seconds(ctc=False) == before[1]


def test_a_cell_with_a_rate_by_one_pass_is_done_at_that_rate_only(
    tiny_corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = save(random_encoder(NAMED_SHAPES["hubert_tiny"]), tmp_path / "tiny")
    recipe = tmp_path / "tiny.yaml"
    content = yaml.safe_load(QUICK.read_text()) | {"engines": {"s3prl": {"rate_from": "onepass"}}}
    recipe.write_text(yaml.safe_dump(content))
    monkeypatch.setattr(s3prl_engine, "run", made_up_result)
    monkeypatch.setattr(estimate, "_speed", lambda device: 1e9)
    record = score(
        model, "ks", data=tiny_corpus, output=tmp_path / "out" / "records", recipe=recipe,
        engine="s3prl", device="cpu",
    )  # fmt: skip
    suite = {
        "output": str(tmp_path / "out"),
        "upstreams": [{"name": "tiny", "source": str(model)}],
        "tasks": [
            {"task": "ks", "data": str(tiny_corpus), "recipe": str(recipe), "engines": ["s3prl"]}
        ],
        "device": "cpu",
        "threads": 1,
    }
    path = tmp_path / "suite.yaml"
    path.write_text(yaml.safe_dump(suite))
    title = "ks tiny s3prl seed 0"
    assert by_title(run_suite(path, dry_run=True).data)[title]["done"]
    chosen = tmp_path / "out" / "records" / str(record.rate_record)
    onepass = read_record(chosen)
    other = {"learning_rate": 0.5}
    chosen.write_text(onepass.model_copy(update=other).model_dump_json())
    assert not by_title(run_suite(path, dry_run=True).data)[title]["done"]
    chosen.unlink()
    cell = by_title(run_suite(path, dry_run=True).data)[title]
    assert not cell["done"]
    assert cell["basis"].endswith("one-pass first")


def test_a_corpus_whose_name_cannot_be_that_of_a_file_is_unknown(
    suite: Path, tmp_path: Path
) -> None:
    entry = read_suite(suite).tasks[0].model_copy(update={"data": "x" * 5_000})
    assert not corpus_facts(entry, tmp_path).known
