from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from torch import nn

from s3prl_compress.methods import check_settings
from s3prl_compress.training.settings import LoopSettings, ParamGroup
from s3prl_compress.training.stages import LearnedConfig, Stage, identity_of

# Computed by commit 3e33bb1, where the settings were clip, ramp, drop and spread, and a stage's
# rules were GroupRule with a field `ascend`.
GATES = "67c1315f71b843cd8bf62af77b0607d21717689d55f2bd2fc8b590f1d3c52a0d"
FINAL = "8721292d538651e4546a49735f9ef1aaa739ac354d313d8cfcec08aa2b03fb61"
PINCH = "b2ef1e395052c24133e3c634a768fefafcb4e378cf88064e8eb7b439c90cc276"


@pytest.fixture
def speech(tmp_path: Path) -> Path:
    folder = tmp_path / "speech"
    folder.mkdir()
    wave = (np.arange(32_000) % 200 * 50).astype(np.int16)
    soundfile.write(folder / "a.wav", wave, 16_000)
    return folder


def model() -> nn.Module:
    linear = nn.Linear(2, 2)
    nn.init.ones_(linear.weight)
    nn.init.zeros_(linear.bias)
    return linear


def test_a_run_begun_before_settings_were_renamed_can_be_resumed(speech: Path) -> None:
    given = {
        "audio": speech,
        "max_grad_norm": 5.0,
        "sparsity_ramp_fraction": 0.5,
        "gate_drop_prob": 0.02,
        "gate_init_spread": 1.0,
    }
    gated = check_settings("structured", given)
    assert identity_of(model(), gated, gated.gated_stage("gates"), "audio", "teacher") == GATES
    assert identity_of(model(), gated, gated.final_stage(), "audio") == FINAL
    given = {"audio": speech, "max_grad_norm": 5.0, "sparsity_ramp_fraction": 0.25}
    pinching = check_settings("self_pinching", given)
    assert identity_of(model(), pinching, pinching.stage("pinch"), "audio", "teacher") == PINCH


def test_a_run_with_another_setting_stage_or_model_cannot(speech: Path) -> None:
    config = LearnedConfig(audio=speech)
    rules = (ParamGroup(("log_alpha",), 0.02),)
    stage = Stage("gates", 10, 1e-3, 0.1, rules)
    other_model = model()
    other_model.bias = nn.Parameter(torch.ones(2))
    others = [
        identity_of(model(), LearnedConfig(audio=speech, max_grad_norm=2.0), stage, "a"),
        identity_of(model(), config, Stage("gates", 10, 1e-3, 0.1), "a"),
        identity_of(model(), config, Stage("gates", 10, 1e-3, 0.1, (*rules, *rules)), "a"),
        identity_of(
            model(),
            config,
            Stage("gates", 10, 1e-3, 0.1, (ParamGroup(("log_alpha",), 0.02, maximize=True),)),
            "a",
        ),
        identity_of(model(), config, stage, "b"),
        identity_of(other_model, config, stage, "a"),
    ]
    assert len({identity_of(model(), config, stage, "a"), *others}) == 7


def test_the_loop_takes_the_former_name_of_its_norm() -> None:
    with pytest.warns(DeprecationWarning, match="clip is now called max_grad_norm"):
        settings = LoopSettings.model_validate({"steps": 3, "learning_rate": 0.1, "clip": 2.5})
    assert settings.max_grad_norm == 2.5
