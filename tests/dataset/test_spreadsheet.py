import csv
import io
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.dataset.spreadsheet import guarded, to_csv, unguarded

RUN = re.compile(r"^\s*[=+\-@\t\r\n＝＋－＠]")
nasty = st.text(st.sampled_from("=+-@'\"\t\r\n ＝＋－＠﹦,;\u00a0a1"), max_size=12) | st.text(max_size=40)


@pytest.mark.parametrize("text", ["=1+1", "@bitcoin up", "-3 %", "+1", "  =A1", "＝1+1", "\t=1", "'=1", "' @x"])
def test_formulas_get_an_apostrophe(text: str) -> None:
    assert guarded(text) == "'" + text
    assert unguarded("'" + text) == text


@pytest.mark.parametrize("text", ["plain", "'tis", "''", "1-1", "", "\U0001f680 @x", "a=1"])
def test_other_texts_stay(text: str) -> None:
    assert guarded(text) == unguarded(text) == text


@settings(max_examples=500, deadline=None, derandomize=True)
@given(rows=st.lists(st.tuples(nasty, nasty), max_size=4))
def test_no_cell_is_a_formula_and_all_come_back(rows: list[tuple[str, str]]) -> None:
    content = to_csv(("a", "b"), rows)
    read = list(csv.reader(io.StringIO(content.removeprefix("\ufeff"), newline="")))[1:]
    assert not any(RUN.match(cell) for row in read for cell in row)
    assert [tuple(map(unguarded, row)) for row in read] == rows
