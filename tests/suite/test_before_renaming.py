"""A structured upstream that 0.1.0 made before its settings were renamed.

`before_renaming/` is what `make_upstream` left of `small_encoder()`: the card and the checkpoint
folder. It was made from SETTINGS by commit 3e33bb1.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from s3prl_compress.encoder import fingerprint, load, save
from s3prl_compress.suite.plan import SuitePlan
from s3prl_compress.suite.status import SuiteStatus
from s3prl_compress.suite.suite_file import Suite
from s3prl_compress.suite.upstreams import make_upstream

from ..support.small import small_encoder

MADE = Path(__file__).parent / "before_renaming"

FORMER = {"ramp": 0.5, "drop": 0.02, "spread": 1.0, "clip": 5.0, "hold": True}
PRESENT = {
    "sparsity_ramp_fraction": 0.5,
    "gate_drop_prob": 0.02,
    "gate_init_spread": 1.0,
    "max_grad_norm": 5.0,
    "cache_in_memory": True,
}
SETTINGS = {
    "steps": 2,
    "final_steps": 1,
    "batch_seconds": 1.0,
    "crop_seconds": 0.5,
    "accumulation": 1,
    "log_every": 1,
    "checkpoint_every": 1,
    "workers": 0,
    "precision": "no",
    "sparsity": 0.3,
}


@pytest.fixture
def plan(tmp_path: Path) -> SuitePlan:
    """The suite that made it, with the present names; its upstreams lie in its folder."""
    speech = tmp_path / "speech"
    speech.mkdir()
    wave = (np.arange(32_000) % 200 * 50).astype(np.int16)
    soundfile.write(speech / "a.wav", wave, 16_000)
    base = small_encoder()
    save(base, tmp_path / "base")
    upstreams = tmp_path / "out" / "upstreams"
    shutil.copytree(MADE, upstreams)
    card = json.loads((MADE / "small.json").read_text())
    card["recipe"]["base"] = fingerprint(base)  # whatever torch draws for it today
    (upstreams / "small.json").write_text(json.dumps(card))
    return plan_of(tmp_path, PRESENT)


def plan_of(folder: Path, named: dict[str, Any]) -> SuitePlan:
    settings = {"audio": str(folder / "speech")} | SETTINGS | named
    suite = Suite.model_validate(
        {
            "output": str(folder / "out"),
            "upstreams": [
                {"name": "base", "source": str(folder / "base")},
                {"name": "small", "from": "base", "method": "structured", "settings": settings},
            ],
        }
    )
    return SuitePlan(suite=suite, output=folder / "out", device=None, threads=None, command=())


@pytest.mark.parametrize("named", [PRESENT, FORMER], ids=["present", "former"])
def test_it_is_complete_and_not_made_again(
    plan: SuitePlan, tmp_path: Path, named: dict[str, Any]
) -> None:
    plan = plan_of(tmp_path, named)
    entry = plan.suite.upstreams[1]
    expected = fingerprint(load(MADE / "small"))
    assert SuiteStatus(plan, lambda task: None).checkpoint("small") == expected
    made, kept = make_upstream(entry, load(tmp_path / "base"), plan.upstreams, "cpu")
    assert kept
    assert fingerprint(made) == expected


def test_another_value_is_still_another_upstream(plan: SuitePlan, tmp_path: Path) -> None:
    plan = plan_of(tmp_path, PRESENT | {"gate_init_spread": 1.5})
    assert SuiteStatus(plan, lambda task: None).checkpoint("small") is None
    entry = plan.suite.upstreams[1]
    assert not make_upstream(entry, load(tmp_path / "base"), plan.upstreams, "cpu")[1]


def test_its_history_is_shown_unchanged(tmp_path: Path) -> None:
    encoder = load(MADE / "small")
    (step,) = encoder.provenance.steps
    assert {name: step.settings[name] for name in FORMER if name != "hold"} == {
        name: value for name, value in FORMER.items() if name != "hold"
    }
    assert "ramp=0.5" in encoder.provenance.chain()[0]
    saved = save(encoder, tmp_path / "again")
    read = json.loads((saved / "config.json").read_text())["provenance"]
    assert read == json.loads((MADE / "small" / "config.json").read_text())["provenance"]
