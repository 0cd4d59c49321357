from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from s3prl_compress.report import report

from ..support.made_up import a_board, a_suite, write_all

_BINARIES = ("chromium", "chromium-browser", "google-chrome", "chrome")
BROWSER = next(filter(None, map(shutil.which, _BINARIES)), None)

pytestmark = pytest.mark.skipif(BROWSER is None, reason=f"none of {_BINARIES} on PATH")

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--dump-dom",
)

# Collects what would go to the console, from before the page's own script runs.
LISTEN = """<script>window.faults = [];
addEventListener("error", (event) => faults.push(event.message));
addEventListener("securitypolicyviolation", (event) => faults.push(event.blockedURI));
for (const kind of ["error", "warn"]) console[kind] = (...words) => faults.push(words.join(" "));
</script></head>"""
ANSWER = """<script>
const find = (selector) => [...document.querySelectorAll(selector)];
const seen = (part) => part.checkVisibility();
const answers = {};
{
%s
}
answers.faults = faults;
document.body.innerText = `ANSWER ${JSON.stringify(answers)} ANSWER`;
</script></body>"""

Ask = Callable[[Path, str], dict[str, Any]]


@pytest.fixture
def ask(tmp_path: Path) -> Ask:
    """Run a script on a page in a browser of a phone's width; return its answers."""

    def run(page: Path, script: str) -> dict[str, Any]:
        text = page.read_text(encoding="utf-8").replace("</head>", LISTEN)
        asking = tmp_path / "asking.html"
        asking.write_text(text.replace("</body>", ANSWER % script), encoding="utf-8")
        dumped = subprocess.run(
            [
                str(BROWSER),
                *FLAGS,
                f"--user-data-dir={tmp_path / 'profile'}",
                "--window-size=500,900",
                asking.as_uri(),
            ],
            check=True,
            capture_output=True,
            text=True,
            timeout=120,
        ).stdout
        answer = re.search("ANSWER ({.*}) ANSWER", dumped, re.S)
        assert answer is not None, "the script on the page did not come to its end"
        found: dict[str, Any] = json.loads(unescape(answer.group(1)))
        return found

    return run


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("suite")
    a_suite(folder)
    return report(folder)[-1]


def test_headings_sort(tmp_path: Path, ask: Ask) -> None:
    write_all(tmp_path, a_board())
    answers = ask(
        report(tmp_path)[-1],
        """
        answers.sorted = ["parameters", "parameters", "score", "upstream", "speedup"].map((key) => {
          const heading = document.querySelector(`th[data-key=${key}]`);
          heading.querySelector("button").click();
          const table = heading.closest("table");
          const marked = [...table.tHead.rows[0].cells].filter((h) => h.ariaSort !== "none");
          const names = [...table.tBodies[0].rows].map((r) => r.querySelector("th").dataset.sort);
          return { way: heading.ariaSort, marked: marked.length, names };
        });
        """,
    )
    assert answers["faults"] == []
    small_to_large = [
        "low_rank25",
        "low_rank50",
        "channels40.fold10",
        "channels40",
        "share25",
        "fold10",
        "hubert_base",
    ]
    up, down, score, name, speedup = answers["sorted"]
    assert (up["way"], up["names"]) == ("ascending", small_to_large)
    assert (down["way"], down["names"]) == ("descending", small_to_large[::-1])
    assert (score["way"], score["names"][0]) == ("descending", "hubert_base")
    assert (name["way"], name["names"]) == ("ascending", sorted(small_to_large))
    # What has no speed-up of its own stays last, whichever way the others stand.
    assert speedup["names"][:2] == ["low_rank25", "channels40.fold10"]
    assert speedup["names"][-1] == "hubert_base"
    assert all(one["marked"] == 1 for one in answers["sorted"])


def test_errors_sort_with_the_least_first(suite: Path, ask: Ask) -> None:
    answers = ask(
        suite,
        """
        const heading = document.querySelector("th[data-key=task-asr]");
        heading.querySelector("button").click();
        answers.way = heading.ariaSort;
        """,
    )
    assert answers == {"way": "ascending", "faults": []}


def test_the_cost_of_all_plots_is_chosen_at_once(suite: Path, ask: Ask) -> None:
    answers = ask(
        suite,
        """
        answers.before = find(".plot").filter(seen).map((plot) => plot.dataset.cost);
        document.querySelector("label[for=cost-time]").click();
        answers.after = find(".plot").filter(seen).map((plot) => plot.dataset.cost);
        const wide = document.documentElement;
        answers.wide = wide.scrollWidth > wide.clientWidth;
        """,
    )
    # All tasks and each of the four; the published rows' plot is folded away.
    assert answers["before"] == ["parameters"] * 5
    assert answers["after"] == ["time"] * 5
    assert answers["wide"] is False
    assert answers["faults"] == []


def test_the_filter_hides_rows_and_their_points(suite: Path, ask: Ask) -> None:
    answers = ask(
        suite,
        """
        const filter = document.getElementById("filter");
        const type = (text) => {
          filter.value = text;
          filter.dispatchEvent(new Event("input", { bubbles: true }));
          const rows = find("table[data-block='1'] tbody tr").filter((row) => !row.hidden);
          const points = find("figure[data-block='1'] [data-cost=parameters] .point");
          return {
            rows: rows.map((row) => row.querySelector("th").dataset.sort),
            points: points.filter((point) => !point.classList.contains("filtered")).length,
            shown: document.getElementById("shown").value,
          };
        };
        answers.method = type("LOW_rank");
        answers.nothing = type("nothing like it");
        answers.all = type("");
        document.getElementById("front-only").click();
        answers.front = type("");
        """,
    )
    assert answers["faults"] == []
    assert answers["method"]["rows"] == ["rank"]
    assert answers["method"]["points"] == 1
    assert " of " in answers["method"]["shown"]
    assert (answers["nothing"]["rows"], answers["nothing"]["points"]) == ([], 0)
    assert (answers["all"]["rows"], answers["all"]["points"], answers["all"]["shown"]) == (
        ["dense", "fold", "rank", "channels"],
        4,
        "",
    )
    assert "dense" in answers["front"]["rows"]
    assert len(answers["front"]["rows"]) == answers["front"]["points"]


def test_pointing_says_figures_settings_and_provenance(suite: Path, ask: Ask) -> None:
    answers = ask(
        suite,
        """
        const point = find("figure[data-block='2'] .point")[2];
        const row = document.querySelector(`table[data-block='2'] tr[data-row='3']`);
        point.dispatchEvent(new PointerEvent("pointerenter"));
        const tip = document.getElementById("tip");
        answers.shown = seen(tip);
        answers.all = document.querySelector("figure[data-block='1'] .point").ariaLabel;
        answers.lines = [...tip.children].map((line) => line.textContent);
        answers.lit = row.classList.contains("lit");
        point.dispatchEvent(new PointerEvent("pointerleave"));
        answers.gone = !seen(tip) && !row.classList.contains("lit");
        """,
    )
    assert answers["faults"] == []
    assert (answers["shown"], answers["lit"], answers["gone"]) == (True, True, True)
    text = "\n".join(answers["lines"])
    assert answers["lines"][0] == "rank"
    for part in ("low_rank(keep=0.5)", "accuracy 70.00", "corrected", "significant", "seeds 0, 1"):
        assert part in text
    for part in ("4-task score", "SID 98.00", "seeds 0, 1", "recipe official", "commit 0123"):
        assert part in answers["all"]
    for part in ("A processor, 2 cores", "2026-02-03", "commit 0123456789ab", "recipe official"):
        assert part in text


def test_without_its_script_the_page_still_reads(suite: Path, tmp_path: Path, ask: Ask) -> None:
    bare = tmp_path / "bare.html"
    text = suite.read_text(encoding="utf-8")
    bare.write_text(re.sub(r"<script>.*?</script>", "", text, flags=re.S), encoding="utf-8")
    answers = ask(
        bare,
        """
        document.querySelector("label[for=cost-macs_32]").click();
        answers.plots = find(".plot").filter(seen).map((plot) => plot.dataset.cost);
        answers.rows = find("table[data-block='1'] tbody tr").filter(seen).length;
        answers.dead = find(".scripted").filter(seen).length;
        """,
    )
    assert answers == {"plots": ["macs_32"] * 5, "rows": 4, "dead": 0, "faults": []}
