import json
from pathlib import Path

from pipeline.dataset.inspection import inspect_table
from pipeline.dataset.loading import LoadOptions
from pipeline.dataset.reading import ReadOptions, read_sources

HOSTILE = "\x1b[2J\x1b]0;title\x07 \u202egnp.exe\u202c \ud83d line\nbreak \U0001f680"


def test_it_shows_dialect_columns_labels_rows_and_rejected_rows(tmp_path: Path) -> None:
    path = tmp_path / "tweets.csv"
    path.write_bytes(
        ("Title\r\n" + "text|mood|date\r\n" + "so good|up|01/13/21\r\nso bad||soon\r\n" * 10 + "x|y\r\n").encode()
    )
    table = read_sources([str(path)], ReadOptions(max_rejected=0.1))
    lines = inspect_table(table, LoadOptions([], label_column="mood")).splitlines()
    assert lines[0] == f"{path}: csv, 20 rows, 1 rejected, more than --max_rejected 0.01 allows"
    facts = dict(line.split(maxsplit=1) for line in lines[1:3])
    assert facts == {"encoding": "ASCII", "delimiter": "'|'"}
    assert "  title rows        1" in lines
    assert "text  text: the only one with a usual name" in lines
    assert "label mood: named by --label_column" in lines
    assert lines[lines.index("label values: 1") + 1 :][:2] == ["          10  up", "          10  (empty: no label)"]
    assert "rows without a label: 10" in lines
    assert (
        "dates: 2021-01-13 00:00 to 2021-01-13 00:00; month first; 10 of 20 rows without a date that can be read, "
        "such as 'soon'" in lines
    )
    start = lines.index("first rows: mood | text")
    assert lines[start + 1] == "  1: up | so good"
    assert lines[start + 10] == "  10:  | so bad"
    assert lines[start + 12] == "rejected rows: 1 (4.76 %)"
    assert lines[start + 13] == f"  {path}, line 23: expected 3 columns, got 2: x|y\\r\\n"


def test_it_tells_what_is_missing_and_shows_the_rest(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("headline,mood\n" + "a,b\n" * 30)
    shown = inspect_table(read_sources([str(tmp_path / "a.csv")]), LoadOptions([]))
    assert "expected" not in shown  # nothing is wrong with a file whose columns are to be named
    assert "\ntext  none: no column has a usual name; give --text_column NAME\n" in shown
    assert "\nlabel none: no column has a usual name; give --label_column NAME\n" in shown
    assert "\ndate  none: no column has a usual name; if there is one, give --date_column NAME\n" in shown
    assert "first rows: headline | mood\n  1: a | b\n" in shown
    assert "  10: a | b\n" in shown
    assert "  11: a | b\n" not in shown


def test_what_is_clear_is_shown_beside_what_is_not(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("tweet,text,label,date\n" + "a,b,up,2025-04-03\nc,d,down,2025-04-04\n" * 3)
    table = read_sources([str(tmp_path / "a.csv")])
    lines = inspect_table(table, LoadOptions([])).splitlines()
    assert "text  none: several have a usual name: tweet, text; give --text_column NAME" in lines
    assert {"label values: 2", "dates: 2025-04-03 00:00 to 2025-04-04 00:00"} <= set(lines)
    lines = inspect_table(table, LoadOptions([], text_column="txt", label_column="text")).splitlines()
    assert "text  none: no column 'txt'; --text_column names one of those above" in lines
    lines = inspect_table(table, LoadOptions([], text_column="text", label_column="text")).splitlines()
    assert any(line.endswith("text and label are both 'text'; give two columns") for line in lines)


def test_nothing_that_a_terminal_obeys_gets_out(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps([{"text\x1b": HOSTILE, "label": HOSTILE}, {"text\x1b": "x" * 300, "label": "y"}]))
    table = read_sources([str(path)])
    shown = inspect_table(table, LoadOptions([], text_column="text\x1b"))
    assert all(line.isprintable() for line in shown.split("\n"))
    assert "\\x1b[2J\\x1b]0;title\\x07 \\u202egnp.exe\\u202c \\ud83d line\\nbreak \U0001f680" in shown
    assert "x" * 99 + "…" in shown


def test_words_for_nothing_and_typos_are_marked(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("text,label\n" + "a,positive\nb,negative\n" * 30 + "c,N/A\nd,?\ne,negativ\nf,unknown\n")
    lines = inspect_table(read_sources([str(path)]), LoadOptions([str(path)])).splitlines()
    assert {"           1  N/A (no label)", "           1  ? (no label)", "rows without a label: 2"} <= set(lines)
    assert (
        "'negativ' (1) looks like 'negative' (30); 'unknown' (1) may be no label; if so, say --labels "
        "negativ=negative,negative,positive,unknown=" in lines
    )
    lines = inspect_table(
        read_sources([str(path)]), LoadOptions([str(path)], labels="positive,negative,?=x")
    ).splitlines()
    assert "rows without a label: 1" in lines
    assert not any("looks like" in line for line in lines)


def test_a_file_that_would_be_refused_is_shown_with_its_bad_rows(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("text,label\n" + "".join(f"well,{'so,' * (i % 2)}bad,up\n" for i in range(8)))
    lines = inspect_table(read_sources([str(path)], ReadOptions(max_rejected=1)), LoadOptions([])).splitlines()
    assert lines[0].endswith("csv, 0 rows, 8 rejected, more than --max_rejected 0.01 allows")
    assert any(line.endswith("line 3: expected 2 columns, got 4: well,so,bad,up\\n") for line in lines)
