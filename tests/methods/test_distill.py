from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from s3prl_compress.common.errors import InputError
from s3prl_compress.encoder import fingerprint, save
from s3prl_compress.encoder.cost import nonzero_parameters
from s3prl_compress.methods import compress

from ..support.small import small_encoder
from .test_structured import SMOKE


@pytest.mark.parametrize(
    ("method", "settings"),
    [
        ("magnitude", {"granularity": "weight"}),
        ("magnitude", {"granularity": "channel"}),
        ("clustering", {"form": "share"}),
        ("low_rank", {}),
    ],
)
def test_every_kind_of_encoder_learns_and_keeps_its_shape(
    method: str, settings: dict[str, Any], tones: Path
) -> None:
    teacher = small_encoder("wavlm")
    smaller = compress(teacher, method, sparsity=0.25, **settings)
    before, untouched = fingerprint(smaller), fingerprint(teacher)
    recovered = compress(smaller, "distill", teacher=teacher, audio=tones, **SMOKE)
    assert recovered.shape == smaller.shape
    assert nonzero_parameters(recovered) == nonzero_parameters(smaller)
    assert fingerprint(recovered) != before == fingerprint(smaller)
    assert fingerprint(teacher) == untouched
    assert [step.method for step in recovered.provenance.steps] == [method, "distill"]
    assert untouched in recovered.provenance.steps[-1].settings["teacher"]


def test_a_teacher_on_disk_is_as_good(tones: Path, tmp_path: Path) -> None:
    teacher, student = small_encoder(), small_encoder(seed=5)
    save(teacher, tmp_path / "teacher")
    one = compress(student, "distill", teacher=teacher, audio=tones, **SMOKE)
    two = compress(student, "distill", teacher=tmp_path / "teacher", audio=tones, **SMOKE)
    assert fingerprint(one) == fingerprint(two)
    assert str(tmp_path) not in str(two.provenance.steps[-1].settings)


def test_a_teacher_that_does_not_fit(tones: Path) -> None:
    deep = small_encoder(layers=3)
    with pytest.raises(InputError, match="3 layers and the student 2"):
        compress(small_encoder(), "distill", teacher=deep, audio=tones, **SMOKE)
    with pytest.raises(InputError, match="nowhere"):
        compress(small_encoder(), "distill", teacher="nowhere", audio=tones, **SMOKE)
