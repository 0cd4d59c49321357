"""Mutations of valid files, by their structure, their text or their bytes."""

from __future__ import annotations

import io
import json
import math
import os
import pickle
import re
import struct
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
import yaml

DEEP = "@deep@"
"""Stands for very deep nesting, which is written into the text of a file."""
NUMBERS: tuple[Any, ...] = (0, 1, -1, 2, 255, 2**31 - 1, 2**31, 2**63, 10**30, 0.5, -0.0, 1e308)
VALUES: tuple[Any, ...] = (
    *NUMBERS,
    math.nan,
    math.inf,
    -math.inf,
    None,
    True,
    False,
    "",
    "x",
    "a\nb",
    "a\u2028b",
    "\x00",
    "\ud800",
    "1e5",
    "../..",
    "/",
    "x" * 100_000,
    DEEP,
    [],
    {},
    [[]],
    [0] * 1000,
    {"x": {"x": {}}},
)
"""Values of all kinds for any place of a JSON or YAML file."""
TEXTS: tuple[bytes, ...] = (
    b"\x00",
    b"\xff",
    b"\xef\xbb\xbf",
    b"\r",
    b"\n",
    b"\t",
    b'"',
    b",",
    b"'",
    b" ",
    b"\xe2\x80\xa8",
    b"\xed\xa0\x80",
    b"x" * 200_000,
)
"""Pieces that are inserted into a text file."""


def mutate_bytes(data: bytes, random: Random) -> bytes:
    """Flip bits, truncate, remove, repeat or insert some bytes."""
    found = bytearray(data)
    for _ in range(random.choice((1, 1, 2, 8))):
        place = random.randrange(len(found) + 1)
        length = random.choice((1, 4, 64, 4096))
        match random.choice(("flip", "flip", "flip", "truncate", "remove", "repeat", "insert")):
            case "flip" if place < len(found):
                found[place] ^= 1 << random.randrange(8)
            case "truncate":
                del found[place:]
            case "remove":
                del found[place : place + length]
            case "repeat":
                found[place:place] = found[place : place + length]
            case "insert":
                found[place:place] = random.randbytes(length)
    return bytes(found)


def mutate_text(data: bytes, random: Random) -> bytes:
    """Insert hostile pieces into a text, repeat or remove lines, or change its encoding."""
    match random.choice(("piece", "piece", "line", "drop", "swap", "encoding")):
        case "piece":
            place = random.randrange(len(data) + 1)
            return data[:place] + random.choice(TEXTS) + data[place:]
        case "encoding":
            text = data.decode(errors="replace")
            return text.encode(random.choice(("utf-16", "utf-32", "utf-8-sig", "cp037")))
        case kind:
            lines = data.splitlines(keepends=True) or [b""]
            place = random.randrange(len(lines))
            if kind == "line":
                lines[place:place] = [lines[place]] * random.choice((1, 3, 1000))
            elif kind == "drop":
                del lines[place]
            else:
                random.shuffle(lines)
            return b"".join(lines)


def mutate_tree(tree: Any, random: Random, extra: tuple[Any, ...] = ()) -> Any:
    """Replace, remove, rename, add or repeat values at random places of a tree, in place."""
    for _ in range(random.choice((1, 1, 2, 4))):
        node = tree
        while True:
            keys = list(node) if isinstance(node, dict) else list(range(len(node)))
            if not keys:
                break
            key = random.choice(keys)
            if isinstance(node[key], dict | list) and random.random() < 0.8:
                node = node[key]
                continue
            _mutate_item(node, key, random, extra)
            break
    return tree


def _mutate_item(node: Any, key: Any, random: Random, extra: tuple[Any, ...]) -> None:
    kind = random.choice(("replace", "replace", "replace", "number", "remove", "rename", "repeat"))
    if kind == "number" and isinstance(node[key], int | float):
        node[key] = random.choice((-node[key], node[key] + 1, node[key] * 2, 10 * node[key], 0))
    elif kind == "remove":
        del node[key]
    elif kind == "rename" and isinstance(node, dict):
        node[random.choice(("", "unknown", "a\nb", str(key).upper()))] = node.pop(key)
    elif kind == "repeat" and isinstance(node, list):
        node[key:key] = [node[key]] * random.choice((1, 1, 300))
    else:
        node[key] = random.choice((*VALUES, *extra))


def _deep(text: str, random: Random) -> str:
    depth = random.choice((50, 500, 5_000, 100_000))
    opening, closing = random.choice((("[", "]"), ('{"x": ', "}")))
    return text.replace(f'"{DEEP}"', opening * depth + "0" + closing * depth)


def mutate_json(data: bytes, random: Random) -> bytes:
    """Mutate a JSON file by its content, its text or its bytes."""
    return _mutate(data, random, lambda own: _json(json.loads(own), random))


def _json(tree: Any, random: Random) -> bytes:
    text = _deep(json.dumps(mutate_tree(tree, random), indent=random.choice((None, 1))), random)
    if random.random() < 0.1:  # a key twice
        text = re.sub(r'("\w+": \d+),', r"\1, \1,", text, count=1)
    return text.encode()


def mutate_yaml(data: bytes, random: Random) -> bytes:
    """Mutate a YAML file by its content, its text or its bytes."""
    return _mutate(data, random, lambda own: _yaml(yaml.safe_load(own), random))


_YAML_TEXTS = (
    "- &a [x, x, x, x, x, x, x, x, x]\n",
    "!!python/object/apply:os.system ['true']",
    "&a [*a]",
    "{<<: {x: 1}}",
    "2020-01-01",
    "2020-99-99",
    "1:2:3",
    "!!binary x",
    "!!binary aGVsbG8=",
    "!!int x",
    "!!float ''",
    "!!timestamp x",
    "!!set {a, b}",
    "!!omap [a: 1]",
    "{[1]: 2}",
    "{1: 2, null: 3}",
    "? {a: 1}\n: 2",
    "0x" + "f" * 10_000,
    "9" * 10_000,
    ".nan",
    "*unknown",
    "%TAG",
)


def _bomb(random: Random) -> str:
    """Return YAML of some lines that stands for billions of values."""
    levels = "".join(
        f"{name}: &{name} [{', '.join(['*' + before] * 9)}]\n"
        for before, name in zip("abcdefgh", "bcdefghi", strict=True)
    )
    return "a: &a [x, x]\n" + levels


def _yaml(tree: Any, random: Random) -> bytes:
    if random.random() < 0.02:
        return _bomb(random).encode() + yaml.safe_dump(tree).encode()
    text = yaml.dump(mutate_tree(tree, random, ("@yaml@",) * 20), sort_keys=False, width=1000)
    text = text.replace("'@yaml@'", random.choice(_YAML_TEXTS))
    return _deep(text.replace(f"'{DEEP}'", f'"{DEEP}"'), random).encode("utf-8", "surrogatepass")


def _mutate(data: bytes, random: Random, by_content: Callable[[bytes], bytes]) -> bytes:
    kind = random.choices((by_content, mutate_text, mutate_bytes), (7, 1, 2))[0]
    return by_content(data) if kind is by_content else kind(data, random)  # type: ignore[call-arg]


def mutate_safetensors(data: bytes, random: Random) -> bytes:
    """Mutate a safetensors file: its header's length and content, its body, or its bytes."""
    length = int.from_bytes(data[:8], "little")
    header, body = data[8 : 8 + length], data[8 + length :]
    kind = random.choice(("length", "tree", "tree", "tree", "entry", "entry", "body", "bytes"))
    if kind == "bytes":
        return mutate_bytes(data, random)
    if kind == "length":
        wrong = random.choice((0, 1, length - 1, length + 1, len(data), 2**31, 2**63, 2**64 - 1))
        return wrong.to_bytes(8, "little") + header + body
    if kind == "body":
        body = random.choice((b"", body[:-1], body + b"x", b"\xff" * len(body), body[::-1]))
    else:
        tree = json.loads(header)
        if kind == "entry":
            name = random.choice([name for name in tree if name != "__metadata__"])
            field, value = random.choice(
                (
                    ("dtype", random.choice(("F64", "F16", "BF16", "I64", "BOOL", "F8_E4M3", "X"))),
                    ("shape", random.choice(([], [0], [-1], [2**63, 2**63], [2**32, 2**32, 0]))),
                    ("data_offsets", random.choice(([0, 0], [4, 0], [0, 2**64], [-1, 4], [0]))),
                )
            )
            tree[name][field] = value
        else:
            mutate_tree(tree, random)
        header = _deep(json.dumps(tree), random).encode()
    return len(header).to_bytes(8, "little") + header + body


PICKLE_RAN = Path(tempfile.gettempdir(), "s3prl_compress_fuzz_pickle_ran")
"""Exists after the code in a pickle was run."""


class _Call:
    """Pickled as a call of `os.system`, which must never be made."""

    def __reduce__(self) -> Any:
        return os.system, (f"touch {PICKLE_RAN}",)


def _odd_objects() -> tuple[Any, ...]:
    view = torch.zeros(1).expand(2**40)
    return (
        _Call(),
        torch.zeros(3),
        torch.zeros(0),
        torch.full((2, 2), math.nan),
        torch.zeros(2, 2, dtype=torch.complex64),
        torch.zeros(4, dtype=torch.int8),
        torch.zeros(2, 2).to_sparse(),
        torch.zeros(2, 2, device="meta"),
        view,
        {1: 2},
        (1, 2),
        b"x",
        {"a"},
        np.zeros(3),
        Path("x"),
    )


def mutate_pickle(data: bytes, random: Random) -> bytes:
    """Mutate a file of `torch.save`: its objects, its pickle, its archive, or its bytes."""
    kind = random.choice(("tree", "tree", "tree", "zip", "raw", "bytes"))
    if kind == "bytes":
        return mutate_bytes(data, random)
    if kind == "raw":
        return random.choice((pickle.dumps(_Call()), pickle.dumps({"a": 1}), b"", b"PK\x03\x04"))
    stream = io.BytesIO()
    if kind == "tree":
        tree = torch.load(io.BytesIO(data), weights_only=True)
        deep: Any = 0
        for _ in range(random.choice((10, 300))):
            deep = [deep]
        mutated = mutate_tree(tree, random, (*_odd_objects(), deep))
        torch.save(mutated, stream, _use_new_zipfile_serialization=random.random() < 0.8)
        return stream.getvalue()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(stream, "w") as new:
        names = old.namelist()
        changed = random.choice([name for name in names if name.endswith("data.pkl")] + names)
        for name in names:
            content = old.read(name)
            if name == changed:
                if random.random() < 0.3:
                    continue
                content = mutate_bytes(content, random)
            new.writestr(name, content)
    return stream.getvalue()


_WAV_FIELDS = {4: "I", 16: "I", 20: "H", 22: "H", 24: "I", 28: "I", 32: "H", 34: "H", 40: "I"}
"""Offsets of the fields of a plain WAV header, and their types."""


def mutate_audio(data: bytes, random: Random) -> bytes:
    """Mutate an audio file: the fields of a WAV header, its samples, or its bytes."""
    kind = random.choice(("field", "field", "field", "samples", "bytes"))
    if not data.startswith(b"RIFF") or kind == "bytes":
        return mutate_bytes(data, random)
    found = bytearray(data)
    if kind == "samples":
        place = random.randrange(44, len(found) - 8)
        hostile = struct.pack("<f", random.choice((math.nan, math.inf, 1e30, 3e4)))
        found[place & ~3 : (place & ~3) + 4] = hostile
        return bytes(found)
    for offset in random.sample(sorted(_WAV_FIELDS), random.choice((1, 1, 2))):
        kind = _WAV_FIELDS[offset]
        largest = 2 ** (8 * struct.calcsize(kind)) - 1
        values = (0, 1, 2, 3, 6, 7, 8, 24, 64, 44_101, 65_534, largest // 2, largest - 1, largest)
        value = random.choice((*values, random.randint(0, largest)))
        struct.pack_into("<" + kind, found, offset, min(value, largest))
    return bytes(found)


def mutate_table(data: bytes, random: Random) -> bytes:
    """Mutate a csv table: its columns, cells and quotes, its text, or its bytes."""
    return _mutate(data, random, lambda own: _table(own, random))


def _table(data: bytes, random: Random) -> bytes:
    rows = [line.split(",") for line in data.decode().splitlines()]
    cells = (
        "", '"', '""', '"a,b"', '"a\nb"', "'", "x" * 140_000, "\x00", "..", "audio",
        "/dev/null", "/dev/zero", "a\u2028b", "a" * 300 + ".wav", "a/" * 3000, "~", "*", "é", "nan",
        "-1", "TEST", " ", "/", "//", "a/b", ".", "con\r", "\ud83d",
    )  # fmt: skip
    for _ in range(random.choice((1, 1, 2, 5))):
        row = random.choice((rows[0], random.choice(rows), random.choice(rows)))
        if not row:
            continue
        place = random.randrange(len(row))
        match random.choice(("cell", "cell", "cell", "copy", "drop", "more", "column")):
            case "cell":
                row[place] = random.choice(cells)
            case "copy":
                row[place] = random.choice(random.choice(rows) or [""])
            case "drop":
                del row[place]
            case "more":
                row[place:place] = [random.choice(cells)] * random.choice((1, 1000))
            case "column":
                for own in rows:
                    del own[place : place + 1]
    return "\n".join(",".join(row) for row in rows).encode("utf-8", "surrogatepass")
