from __future__ import annotations

import json

import pytest
from pydantic import ValidationError

from s3prl_compress.encoder import NAMED_SHAPES, dense_shape
from s3prl_compress.encoder.shape import EncoderShape, HeadShape, LayerShape, LinearShape


@pytest.mark.parametrize("name", sorted(NAMED_SHAPES))
def test_a_shape_survives_json(name: str) -> None:
    shape = NAMED_SHAPES[name]
    assert EncoderShape.model_validate(json.loads(shape.model_dump_json())) == shape


@pytest.mark.parametrize(
    ("samples", "frames"), [(399, 0), (400, 1), (719, 1), (720, 2), (16_000, 49), (160_000, 499)]
)
def test_frames_follow_the_convolutions(samples: int, frames: int) -> None:
    shape = NAMED_SHAPES["hubert_base"]
    assert shape.frames(samples) == frames
    assert shape.minimum_samples == 400
    assert shape.frame_stride == 320


@pytest.mark.parametrize(
    "change",
    [
        {"family": "conformer"},
        {"convs": []},
        {"conv_norm": None},
        {"conv_bias": None},
        {"front_end": {"mels": 80}},
        {"position_conv": None},
        {"learned_positions": 1500},
        {"key_bias": False},
        {"relative_position": {"buckets": 320, "max_distance": 800}},
        {"format_version": 2},
        {"layers": [{"heads": [], "ffn": 0}] * 257},
        {"unheard_of": 1},
        {"projection": False},
        {"position_conv": {"kernel": 16, "groups": 5}},
    ],
)
def test_a_shape_that_contradicts_itself_is_refused(change: dict[str, object]) -> None:
    data = NAMED_SHAPES["hubert_tiny"].model_dump(mode="json") | change
    with pytest.raises(ValidationError):
        EncoderShape.model_validate(data)


def test_no_published_shape_is_out_of_bounds() -> None:
    xls_r_2b = dense_shape("wav2vec2", hidden=1920, layers=48, heads=16, ffn=7680, large=True)
    EncoderShape.model_validate(xls_r_2b.model_dump())


HUGE = 10**9
HOSTILE: dict[str, tuple[tuple[str | int, ...], object]] = {
    "hidden": (("hidden",), HUGE),
    "ffn": (("layers", 1, "ffn"), HUGE),
    "qk": (("layers", 0, "heads", 1, "qk"), 9),
    "vo": (("layers", 0, "heads", 1, "vo"), 9),
    "heads": (("original_heads",), HUGE),
    "head size": (("head_size",), 16),
    "conv width": (("convs", 2, "width"), HUGE),
    "conv kernel": (("convs", 2, "kernel"), HUGE),
    "conv stride": (("convs", 2, "stride"), HUGE),
    "position kernel": (("position_conv", "kernel"), HUGE),
    "buckets": (("relative_position", "buckets"), HUGE),
    "distance": (("relative_position", "max_distance"), 80),
    "rank": (("layers", 0, "q"), {"kind": "low_rank", "rank": 33}),
    "centroids": (("layers", 0, "fc1"), {"kind": "shared", "centroids": 49}),
    "nonzeros": (("layers", 0, "fc2"), {"kind": "sparse", "nonzeros": 32 * 48 + 1}),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_size_out_of_bounds_is_refused(case: str) -> None:
    tiny = NAMED_SHAPES["hubert_tiny"].model_dump(mode="json")
    data = tiny | {"family": "wavlm", "relative_position": {"buckets": 320, "max_distance": 800}}
    EncoderShape.model_validate(data)
    *where, last = HOSTILE[case][0]
    place = data
    for key in where:
        place = place[key]  # type: ignore[index]
    place[last] = HOSTILE[case][1]  # type: ignore[index]
    with pytest.raises(ValidationError):
        EncoderShape.model_validate(data)


def test_the_rule_for_padded_frames_is_stored_where_it_is_not_the_familys() -> None:
    plain = NAMED_SHAPES["hubert_tiny"]
    assert "padded_frames" not in plain.model_dump_json()  # which enters the fingerprint
    shape = plain.model_copy(update={"padded_frames": "convolutions"})
    assert EncoderShape.model_validate(json.loads(shape.model_dump_json())) == shape


def test_heads_keep_their_original_numbers_in_order() -> None:
    def shape(*originals: int) -> EncoderShape:
        heads = tuple(HeadShape(original=number, qk=8, vo=8) for number in originals)
        layer = LayerShape(heads=heads, ffn=4)
        return EncoderShape.model_validate(
            NAMED_SHAPES["hubert_tiny"].model_dump() | {"layers": (layer,)}
        )

    assert [head.original for head in shape(0, 3).layers[0].heads] == [0, 3]
    for wrong in ((1, 0), (1, 1), (4,)):
        with pytest.raises(ValidationError, match="original head numbers"):
            shape(*wrong)


@pytest.mark.parametrize(
    "wrong",
    [{"kind": "low_rank"}, {"kind": "dense", "rank": 3}, {"kind": "shared", "nonzeros": 3}],
)
def test_a_linear_has_the_size_of_its_kind_and_no_other(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match="linear"):
        LinearShape.model_validate(wrong)


def test_hidden_must_divide_into_heads() -> None:
    with pytest.raises(ValueError, match="divisible"):
        dense_shape("hubert", hidden=30, heads=4)
