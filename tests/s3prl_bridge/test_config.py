from __future__ import annotations

from typing import Any

import pytest

from s3prl_compress.tasks.asr.downstream import recognition_config
from s3prl_compress.tasks.cli_support import adapters, official_config
from s3prl_compress.tasks.ks.downstream import keyword_config
from s3prl_compress.tasks.registry import available_tasks, load_settings

HEAD = {
    "projector_dim": 256,
    "select": "UtteranceLevel",
    "UtteranceLevel": {"pooling": "MeanPooling"},
}


@pytest.mark.parametrize(
    ("downstream", "steps", "evaluate", "accumulate", "data"),
    [
        ("speech_commands", 200_000, 5000, 1, {"batch_size": 32}),
        (
            "voxceleb1",
            200_000,
            5000,
            4,
            {"train_batch_size": 8, "eval_batch_size": 1, "max_timestep": 128_000},
        ),
        (
            "emotion",
            30_000,
            1000,
            8,
            {"train_batch_size": 4, "eval_batch_size": 4, "valid_ratio": 0.2, "pre_load": True},
        ),
        ("fluent_commands", 200_000, 5000, 1, {"train_batch_size": 32, "eval_batch_size": 32}),
        ("asr", 200_000, 2000, 1, {"batch_size": 32, "eval_batch_size": 1}),
    ],
)
def test_the_official_recipes_are_superbs(
    downstream: str, steps: int, evaluate: int, accumulate: int, data: dict[str, Any]
) -> None:
    config = official_config(downstream)
    assert config is not None
    runner = config["runner"]
    assert (runner["total_steps"], runner["eval_step"]) == (steps, evaluate)
    assert (runner["save_step"], runner["log_step"]) == (1000, 100)
    assert (runner["gradient_clipping"], runner["gradient_accumulate_steps"]) == (1, accumulate)
    assert config["optimizer"] == {"name": "TorchOptim", "torch_optim_name": "Adam", "lr": 1e-4}
    expert = config["downstream_expert"]
    assert data.items() <= expert["datarc"].items()
    if downstream != "asr":
        assert expert["modelrc"] == HEAD
        assert "specaug" not in config


def test_every_downstream_has_a_config_for_the_command_line() -> None:
    for name, adapter in adapters().items():
        config = official_config(name)
        assert config is not None
        data = config["downstream_expert"][adapter.section]
        assert adapter.places
        assert [data[place] for place in adapter.places] == [""] * len(adapter.places)
    assert set(adapters()) == {
        task.s3prl for task in available_tasks().values() if task.trains_head
    }
    assert official_config("sv_voxceleb1") is None


def test_recognitions_head_is_superbs() -> None:
    settings, _ = load_settings("asr", "official", "s3prl")
    config = recognition_config(settings, 1e-4, root="root", tables="tables", dictionary="file")
    assert config["runner"]["eval_dataloaders"] == ["dev-clean"]
    model = config["downstream_expert"]["modelrc"]
    assert (model["select"], model["project_dim"]) == ("RNNs", 1024)
    assert model["RNNs"]["dim"] == [1024, 1024]
    assert model["RNNs"]["dropout"] == [0.2, 0.2]
    assert (model["RNNs"]["total_rate"], model["RNNs"]["bidirection"]) == (-1, True)
    assert config["specaug"]["time_mask_width_range"] == [0, 40]
    assert config["specaug"]["num_freq_mask"] == 4
    head = settings.recognition
    assert head is not None
    plain = settings.model_copy(
        update={"recognition": head.model_copy(update={"specaug": False, "rnn_layers": 1})}
    )
    config = recognition_config(plain, 1e-4, root="root", tables="tables", dictionary="file")
    assert "specaug" not in config
    assert config["downstream_expert"]["modelrc"]["RNNs"]["dim"] == [1024]


def test_training_alone_does_not_look_at_test() -> None:
    settings, _ = load_settings("ks", "official", "s3prl")
    config = keyword_config(settings, "train", "test", 1e-4)
    assert config["runner"]["eval_dataloaders"] == ["dev"]
    assert settings.padding == "fairseq"


def test_short_runs_save_at_every_evaluation() -> None:
    settings, _ = load_settings("ks", "smoke", "s3prl")
    runner = keyword_config(settings, "train", "test", 1e-3)["runner"]
    assert runner["save_step"] == runner["eval_step"] == settings.eval_step
