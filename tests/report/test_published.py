from __future__ import annotations

from s3prl_compress.report.published import published_rows, published_table


def test_every_published_row_has_its_source_and_its_scores() -> None:
    rows = published_rows()
    assert len(rows) == 18
    for row in rows:
        assert row.source
        assert 0 < row.scores["asr"] < 30
        assert 40 < row.scores["ks"] < 100
    scores = {row.upstream: row.score for row in rows}
    assert abs(scores["FBANK"]) < 0.5  # the formula's zero, from rounded scores
    assert 895 < scores["HuBERT base"] < 897
    assert max(scores, key=lambda name: scores[name]) == "WavLM large"


def test_the_table_says_what_it_is() -> None:
    table = published_table()
    assert "not run here" in table.title
    assert [column.key for column in table.columns][-1] == "source"
    dphubert = next(line for line in table.lines if line.row.upstream == "DPHuBERT 960h")
    assert [cell.text for cell in dphubert.cells[3:9]] == [
        "96.36",
        "76.83",
        "63.16",
        "10.47",
        "23.59 M",
        "654.1 G",
    ]
    distil = next(line for line in table.lines if line.row.upstream == "DistilHuBERT")
    assert distil.cells[8].text == "\N{EN DASH}"
