from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from s3prl_compress.reporting import report

from .made_up import a_board, write_all

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

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
LISTEN = (
    "<script>window.faults = [];"
    "addEventListener('error', (event) => faults.push(event.message));"
    "addEventListener('securitypolicyviolation', (event) => faults.push(event.blockedURI));"
    "</script></head>"
)
CLICK = """<script>
const heading = (key) => document.querySelector(`th[data-key=${key}]`);
const said = [];
for (const key of ["parameters", "parameters", "score", "upstream", "speedup"]) {
  heading(key).querySelector("button").click();
  const table = heading(key).closest("table");
  const names = [...table.tBodies[0].rows].map((row) => row.querySelector("th").dataset.sort);
  const sorted = [...table.tHead.rows[0].cells].filter((h) => h.ariaSort !== "none");
  said.push([sorted.length, key, heading(key).ariaSort, ...names].join(","));
}
const wide = document.documentElement.scrollWidth > document.documentElement.clientWidth;
document.body.innerText = said.join("\\n") + `\\nfaults=${faults.join(";")}\\nwide=${wide}`;
</script></body>"""


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on PATH")
def test_headings_sort_in_a_real_browser(tmp_path: Path) -> None:
    write_all(tmp_path, a_board())
    page = report(tmp_path)[-1]
    text = page.read_text(encoding="utf-8")
    page.write_text(text.replace("</head>", LISTEN).replace("</body>", CLICK), encoding="utf-8")
    command = [str(CHROMIUM), *FLAGS, f"--user-data-dir={tmp_path / 'profile'}"]
    dumped = subprocess.run(
        [*command, "--window-size=500,900", page.as_uri()],
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
    ).stdout
    body = dumped[dumped.index("<body>") :]
    lines = re.sub(r"<br>", "\n", re.sub(r"</?body>|</?html>", "", body)).strip().splitlines()
    small_to_large = [
        "low_rank25",
        "low_rank50",
        "channels40.fold10",
        "channels40",
        "share25",
        "fold10",
        "hubert_base",
    ]
    assert lines[0].split(",") == ["1", "parameters", "ascending", *small_to_large]
    assert lines[1].split(",") == ["1", "parameters", "descending", *reversed(small_to_large)]
    assert lines[2].startswith("1,score,descending,hubert_base,fold10,share25")
    assert lines[3].split(",") == ["1", "upstream", "ascending", *sorted(small_to_large)]
    # What has no speed-up of its own stays last, whichever way the others stand.
    assert lines[4].startswith("1,speedup,descending,low_rank25,channels40.fold10")
    assert lines[4].endswith("hubert_base")
    assert lines[5] == "faults="
    assert lines[6] == "wide=false"
