import csv
import io
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.dataset.delimited import Parsed, parse_delimited, parse_lines, refuse_repeated
from pipeline.dataset.tables import ReadOptions
from pipeline.errors import PipelineError


def parse(text: str, **options: object) -> Parsed:
    return parse_delimited("t.csv", text.encode(), ReadOptions(**options))  # type: ignore[arg-type]


def cells(parsed: Parsed) -> dict[str, list[object]]:
    return {name: list(column) for name, column in parsed.values.items()}


def problems(parsed: Parsed) -> list[tuple[int, str]]:
    return [(row.line, row.reason) for row in parsed.rejected]


def test_a_quote_without_its_partner_costs_one_row() -> None:
    rows = [f'"tweet, number {i}",{i % 2}' for i in range(200)]
    rows[7] = '"a tweet whose quote stays open,1'
    rows[50] = '"a tweet with "quotes" inside",1'
    rows[199] = '"open at the end,1'
    parsed = parse("tweet,label\n" + "\n".join(rows))
    quote, after = "a quote without its partner", "text after a closing quote"
    assert problems(parsed) == [(9, after), (52, after), (201, quote)]
    assert list(parsed.numbers) == [i for i in range(1, 200) if i not in (8, 51)]
    assert cells(parsed)["tweet"] == [f"tweet, number {i}" for i in range(199) if i not in (7, 50)]
    assert [row.content.rstrip("\n") for row in parsed.rejected] == [rows[7], rows[50], rows[199]]


def test_an_open_quote_does_not_eat_rows_without_quotes() -> None:
    rows = [f"tweet {i},{i % 2}" for i in range(5_000)]
    rows[1], rows[2], rows[3] = '"so, so",1', '"so, and so",1', '"open,1'
    parsed = parse("tweet,label\n" + "\n".join(rows))
    assert problems(parsed) == [(5, "a quote without its partner")]
    assert len(parsed.numbers) == 4_999


def test_a_row_of_several_lines_with_a_cell_too_many_is_one_rejected_row() -> None:
    rows = [f'"tweet {i}\nsecond line",1' for i in range(10)]
    rows[4] = '"tweet 4\nsecond line",1,2'
    parsed = parse("tweet,label\n" + "\n".join(rows))
    assert problems(parsed) == [(10, "expected 2 columns, got 3")]
    assert list(parsed.numbers) == [1, 2, 3, 4, 6, 7, 8, 9, 10]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r\r\n", "\r"])
def test_ragged_rows_are_told_by_their_line(end: str) -> None:
    parsed = parse(end.join(["tweet,label", "a,1", "", '"b', 'c",1', "d", "e,1,2", "f,1"]) + end)
    assert problems(parsed) == [(6, "expected 2 columns, got 1"), (7, "expected 2 columns, got 3")]
    assert cells(parsed)["tweet"] == ["a", f"b{end}c", "f"]
    assert list(parsed.numbers) == [1, 2, 5]
    assert parsed.facts["line_ends"] == {"\n": "LF", "\r\n": "CRLF", "\r\r\n": "CRCRLF", "\r": "CR"}[end]


def test_mixed_line_ends_are_read_and_counted() -> None:
    parsed = parse('tweet,label\r\na,1\n"b\nc",1\r\r\nd,1\n')
    assert cells(parsed)["tweet"] == ["a", "b\nc", "d"]
    assert parsed.facts["line_ends"] == "LF 3, CRLF 1, CRCRLF 1"


@pytest.mark.parametrize(
    ("text", "delimiter", "quoting"),
    [
        ('1;"Great", he said;up\n2;he said "no";down\n3;"open and plain;up\n', ";", "none"),
        ('1\t"Great" he said\tup\n2\tso "what"\tdown\n', "\t", "none"),
        ('1|"a|b"|up\n2|"c"|down\n', "|", "quoted"),
        ('"a","up"\n"b","down"\n', ",", "quoted"),
        ('1,"one, two; three; four",up\n2,"five; six",down\n', ",", "quoted"),
        ("1;one, two, three, four;up\n2;five, six;down\n", ";", "quoted"),
        ('one,1\n"two,2\nthree,1\n', ",", "none"),
    ],
)
def test_delimiter_and_quotes(text: str, delimiter: str, quoting: str) -> None:
    parsed = parse(text, header=False)
    assert (parsed.facts["delimiter"], parsed.facts["quoting"]) == (delimiter, quoting)
    assert not parsed.rejected


def test_plain_quotes_stay_in_the_text() -> None:
    parsed = parse('text;label\n"Great" he said;1\n"no;0\nhe said "so";1\n')
    assert cells(parsed)["text"] == ['"Great" he said', '"no', 'he said "so"']


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("tweet,label\na,1\n", ["tweet", "label"]),
        ("headline,mood\na,good\nb,bad\n", ["headline", "mood"]),  # nothing says that it is none
        ("so good,positive\nso bad,negative\nmeh,positive\nok,positive\n", ["1", "2"]),  # a value that comes again
        ("so good,1\nso bad,-1\n", ["1", "2"]),  # a number
        ("17,so good,up\n18,so bad,down\n", ["1", "2", "3"]),
        ("see https://a.b,up\nnothing,down\n", ["1", "2"]),
        ("a tweet that is too long for the name of any column in the world,up\nb,down\n", ["1", "2"]),
    ],
)
def test_header_is_found_or_missed(text: str, names: list[str]) -> None:
    parsed = parse(text)
    assert list(parsed.values) == names
    assert parsed.facts["header"] is (names[0] != "1")
    assert len(parsed.numbers) == text.count("\n") - (names[0] != "1")


def test_header_is_what_the_user_says() -> None:
    assert list(parse("so good,1\nso bad,0\n", header=True).values) == ["so good", "1"]
    assert len(parse("tweet,label\na,1\n", header=False).numbers) == 2
    assert list(parse("words,0\na,1\nb,0\n", named=("words",)).values) == ["words", "0"]
    assert list(parse("so good,1\nso bad,1\n", named=("1", "2")).values) == ["1", "2"]


@pytest.mark.parametrize(
    "titles",
    ["Tweets about coins\n", "Tweets, collected by me, 2021\n\n", "Tweets,\nsource,\n", "sep=,\n", "One\nTwo\nThree\n"],
)
def test_title_rows_above_the_header(titles: str) -> None:
    parsed = parse(titles + "tweet,label\na,1\nb,0\nc,1\n")
    assert cells(parsed) == {"tweet": ["a", "b", "c"], "label": ["1", "0", "1"]}
    assert parsed.facts["title_rows"] == len(titles.strip().splitlines())
    assert not parsed.rejected


def test_title_rows_above_unusual_names_and_above_no_names() -> None:
    assert list(parse("My tweets\nheadline,mood\na,good\nb,bad\n").values) == ["headline", "mood"]
    parsed = parse("My tweets\na,1\nb,0\n")
    assert (list(parsed.values), list(parsed.numbers), parsed.facts["title_rows"]) == (["1", "2"], [1, 2], 1)


def test_a_tweet_of_one_usual_word_is_no_header() -> None:
    parsed = parse("so good,1\ntext,0\nso bad,1\n")
    assert cells(parsed)["1"] == ["so good", "text", "so bad"]


def test_an_extra_column_in_every_row_is_never_shifted() -> None:
    for header in ("tweet,label", "tweet,label,date", "a,b"):
        extra = ",x" * (header.count(",") + 1)
        parsed = parse(header + "\n" + "".join(f"tweet {i}{extra}\n" for i in range(30)))
        shifted = not parsed.rejected and list(parsed.values) == header.split(",")
        assert not shifted
        assert len(parsed.rejected) in (0, 30)


def test_an_unnamed_column_goes_where_it_is_empty() -> None:
    assert cells(parse("text;tag;\na;1;\nb;0;\n")) == {"text": ["a", "b"], "tag": ["1", "0"]}
    assert cells(parse(",text,label\n0,a,1\n1,b,0\n")) == {"": ["0", "1"], "text": ["a", "b"], "label": ["1", "0"]}
    assert list(parse("text,label,,\na,1,,\n").values) == ["text", "label"]
    with pytest.raises(PipelineError, match="got '' twice"):
        parse("text,label,,\na,1,x,y\n")


def test_the_first_row_may_be_longer_than_the_sample() -> None:
    parsed = parse("tweet,label\n" + "x" * (2 << 20) + ",1\nb,0\n")
    assert [len(str(text)) for text in parsed.values["tweet"]] == [2 << 20, 1]


def test_plain_lines() -> None:
    parsed = parse_lines("t.txt", 'one, "two\r\n\n \nthree\u2028four'.encode())
    assert (cells(parsed), list(parsed.numbers)) == ({"text": ['one, "two', "three\u2028four"]}, [1, 4])


WORDS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=12)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    rows=st.lists(st.tuples(WORDS, st.sampled_from(["up", "down"])), min_size=1, max_size=12),
    delimiter=st.sampled_from(",\t;|"),
    end=st.sampled_from(["\n", "\r\n"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]),
)
def test_what_csv_writes_is_read_back(rows: list[tuple[str, str]], delimiter: str, end: str, quoting: int) -> None:
    file = io.StringIO(newline="")
    writer = csv.writer(file, delimiter=delimiter, lineterminator=end, quoting=quoting)  # type: ignore[arg-type]
    writer.writerows([("tweet", "label"), *rows])
    parsed = parse(file.getvalue())
    assert list(zip(*parsed.values.values(), strict=True)) == rows
    assert not parsed.rejected


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.lists(st.sampled_from(["a", " b", ",", '"', "\n", "\r\n", ";", "\t", "1", "text", "é"]), max_size=60).map(
        "".join
    )
)
def test_every_line_is_kept_or_rejected(text: str) -> None:
    try:
        parsed = parse(text)
    except PipelineError:
        return
    total = len(parsed.numbers) + len(parsed.rejected)
    assert {len(column) for column in parsed.values.values()} <= {len(parsed.numbers)}
    assert len(set(parsed.numbers)) == len(parsed.numbers)
    assert max([0, *parsed.numbers]) <= total
    assert [row.line for row in parsed.rejected] == sorted({row.line for row in parsed.rejected}) or "\r" in text


def test_planted_faults_cost_their_own_rows_only() -> None:
    """Of 3,000 rows, 20 are broken at random places; exactly these are rejected."""
    random.seed(0)
    rows = [f'"tweet {i}, with ""quotes"" and\na second line",{i % 3}' for i in range(3_000)]
    broken = sorted(random.sample(range(2, 2_998), 20))
    broken = [i for i, after in zip(broken, [*broken[1:], 9_999], strict=True) if after - i > 1]
    for k, i in enumerate(broken):
        rows[i] = [f"tweet {i}, unquoted,1", f"tweet {i}", f'"tweet {i},1', f'"tweet "{i}" inner",1'][k % 4]
    parsed = parse("tweet,label\n" + "\n".join(rows) + "\n")
    assert list(parsed.numbers) == [i + 1 for i in range(3_000) if i not in broken]
    assert len(parsed.rejected) == len(broken)
    texts = [f'tweet {i}, with "quotes" and\na second line' for i in range(3_000) if i not in broken]
    assert cells(parsed)["tweet"] == texts


def test_each_name_of_a_column_is_looked_at_once() -> None:
    looked = 0

    class Name(str):
        __slots__ = ()

        def __hash__(self) -> int:
            return str.__hash__(self)

        def __eq__(self, other: object) -> bool:
            nonlocal looked
            looked += 1
            return str.__eq__(self, other)

    refuse_repeated("t.csv", [Name(i) for i in range(1000)])
    assert looked < 5000  # not of each with each other one: a mebibyte has room for 140,000 columns
