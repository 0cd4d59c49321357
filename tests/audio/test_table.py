from __future__ import annotations

from pathlib import Path

import pytest

from s3prl_compress.audio.table import read_rows
from s3prl_compress.common.errors import InputError
from s3prl_compress.common.faults import Faults


def read(path: Path, columns: tuple[str, ...] = ("file", "text")) -> list[tuple[str, ...]]:
    faults = Faults()
    rows = read_rows(path, columns, faults)
    faults.raise_if_any(str(path), "correct it")
    return [tuple(row.cells[name] for name in columns) for row in rows]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("column", ["text", "transcript"])
def test_a_table_as_editors_write_it(tmp_path: Path, encoding: str, end: str, column: str) -> None:
    table = tmp_path / "table.csv"
    lines = [f" file ,notes, {column}", 'a.wav,,"Ja, schön"', "", ",,", "b.wav , , no ,"]
    table.write_bytes(end.join(lines).encode(encoding))
    assert read(table) == [("a.wav", "Ja, schön"), ("b.wav", "no")]


def test_two_names_of_one_column_must_agree(tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    table.write_text("file,text,transcript\na.wav,one,one\nb.wav,two,too\n")
    with pytest.raises(InputError, match=r"text and transcript that differ: 1 \(line 3\)"):
        read(table)
    assert read(table, ("file",)) == [("a.wav",), ("b.wav",)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("file,text\na.wav,schön\n".encode("latin-1"), r"not UTF-8 \(byte 0xf6 in line 2\); save"),
        ("file,text\na.wav,one\n".encode("utf-16"), r"not UTF-8 \(byte 0xff in line 1\)"),
        (b"file,text\na.wav,one\nb\0.wav,two\n", r"not text \(a NUL character in line 3\)"),
        (b"", "no column file, text; a table needs the columns file, text"),
        (b"file;text\na.wav;one\n", "no column file, text; .* separated by commas"),
        (b"file,text,file\na.wav,one,b.wav\n", "there are two columns file"),
        (b"file,text\n", "the table has no rows"),
        (b'file,text\na.wav,"one\nb.wav,two\n', "not a readable table .line 3: .*check its quotes"),
        (b"text,file\none\ntwo,b.wav\n", r"row with too few cells: 1 \(line 2\)"),
        (b"file,text\na.wav,well, yes\n", r"row with more cells than columns .*: 1 \(line 2\)"),
        (b"file,text\n,one\n", r"empty file name: 1 \(line 2\)"),
        (b"file,text\na.wav,one\n./a.wav,one\n", r"file listed twice: 1 \(./a.wav\)"),
        (b"file,text\na.wav,one\na.wav,two\n", r"file listed twice with two texts: 1 \(a.wav\)"),
    ],
)
def test_what_is_wrong_is_one_line(tmp_path: Path, content: bytes, message: str) -> None:
    table = tmp_path / "table.csv"
    table.write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        read(table)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(str(table))


def test_a_table_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such table"):
        read(tmp_path / "absent.csv")
    with pytest.raises(InputError, match="cannot be read as a table"):
        read(tmp_path)
