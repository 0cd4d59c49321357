from __future__ import annotations

import itertools
import random

from s3prl_compress.reporting.labels import place

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
