from __future__ import annotations

import itertools
import random

from s3prl_compress.report.labels import place, without_common_start
from s3prl_compress.report.rows import Entry

from ..support.made_up import entry

INSIDE = (0.0, 0.0, 300.0, 200.0)


def test_labels_cover_neither_each_other_nor_the_markers() -> None:
    generator = random.Random(5)
    for _ in range(20):
        points = [(generator.uniform(20, 280), generator.uniform(20, 180)) for _ in range(8)]
        markers = [(x - 4, y - 4, x + 4, y + 4) for x, y in points]
        sizes = [(generator.uniform(15, 60), 10.0) for _ in points]
        placed = place(points, sizes, markers, INSIDE)
        if placed is None:
            continue
        boxes = [
            (found.x, found.y, found.x + width, found.y + height)
            for found, (width, height) in zip(placed, sizes, strict=True)
        ]
        for one, other in itertools.combinations([*boxes, *markers], 2):
            if one in markers and other in markers:
                continue
            apart = one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1]
            assert apart or other[3] <= one[1]
        for left, bottom, right, top in boxes:
            assert left >= 0
            assert bottom >= 0
            assert right <= 300
            assert top <= 200


def test_no_room_is_said() -> None:
    assert place([(150.0, 100.0)], [(400.0, 10.0)], [], INSIDE) is None


def _row(number: int, name: str, methods: str = "m(a=1)") -> Entry:
    return entry(row=number, upstream=name, methods=methods)


def test_names_lose_what_they_share_but_never_become_numbers() -> None:
    rows = [_row(1, "base-line", ""), _row(2, "base-fold-10"), _row(3, "base-share-25")]
    assert without_common_start(rows) == {1: "base-line", 2: "fold-10", 3: "share-25"}
    rows = [_row(1, "base-fold-10"), _row(2, "base-fold-20")]
    assert without_common_start(rows) == {1: "fold-10", 2: "fold-20"}
    assert without_common_start([]) == {}
