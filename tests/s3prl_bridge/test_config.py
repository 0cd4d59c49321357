from __future__ import annotations

from s3prl_compress.s3prl_bridge.keyword_spotting import keyword_config
from s3prl_compress.scoring.task import load_settings


def test_the_official_recipe_is_superbs() -> None:
    settings, _ = load_settings("ks", "official", "s3prl")
    config = keyword_config(settings, "train", "test", 1e-4)
    runner = config["runner"]
    assert runner["total_steps"] == 200_000
    assert (runner["eval_step"], runner["save_step"], runner["log_step"]) == (5000, 1000, 100)
    assert (runner["gradient_clipping"], runner["gradient_accumulate_steps"]) == (1, 1)
    assert runner["eval_dataloaders"] == ["dev"]
    assert config["optimizer"] == {"name": "TorchOptim", "torch_optim_name": "Adam", "lr": 1e-4}
    expert = config["downstream_expert"]
    assert expert["datarc"]["batch_size"] == 32
    assert expert["modelrc"] == {
        "projector_dim": 256,
        "select": "UtteranceLevel",
        "UtteranceLevel": {"pooling": "MeanPooling"},
    }
    assert settings.padding == "fairseq"


def test_short_runs_save_at_every_evaluation() -> None:
    settings, _ = load_settings("ks", "smoke", "s3prl")
    runner = keyword_config(settings, "train", "test", 1e-3)["runner"]
    assert runner["save_step"] == runner["eval_step"] == settings.eval_step
