from __future__ import annotations

import importlib

import pytest

from s3prl_compress.distillation.config import DistillationConfig
from s3prl_compress.training import config, learned, stages


@pytest.mark.parametrize("module", [config, learned])
def test_every_old_name_still_leads_somewhere_and_warns(module):
    for name, place in module._MOVED.items():
        home, _, attribute = place.partition(":")
        with pytest.warns(DeprecationWarning, match=f"import {attribute} from {home}"):
            found = getattr(module, name)
        assert found is getattr(importlib.import_module(home), attribute)


def test_old_names_are_the_new_objects():
    with pytest.warns(DeprecationWarning, match="is deprecated"):
        from s3prl_compress.training.config import ImitatingConfig, LearnedConfig
    assert ImitatingConfig is DistillationConfig
    assert LearnedConfig is stages.LearnedConfig


def test_an_unknown_name_is_no_attribute():
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        learned.nothing  # noqa: B018
