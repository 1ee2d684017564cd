"""Real files in bad shape; the figures were counted with awk, the csv module and pandas."""

from collections import Counter
from pathlib import Path

import pytest

from pipeline.dataset.columns import find_columns, texts_of
from pipeline.dataset.reading import Table, read_sources
from pipeline.errors import PipelineError
from pipeline.text import clean

REAL = Path(__file__).resolve().parents[2] / "../shared/data"

# file, rows, rejected, text column, label column, the counts of its values
FILES: list[tuple[str, int, int, str | None, str | None, dict[str, int]]] = [
    ("messy/cp1252_stock_data.csv", 5_791, 0, None, None, {"1": 3_685, "-1": 2_106}),
    ("messy/crcrlf_rows_crlf_in_quotes_btc_neg.csv", 5_983, 0, None, None, {"negative": 5_983}),
    (
        "messy/headerless_crcrlf_in_quotes_corona.csv",
        *(3_798, 0, "1", "2"),
        {"Negative": 1_041, "Positive": 947, "Neutral": 619, "Extremely Positive": 599, "Extremely Negative": 592},
    ),
    ("messy/latin1_mixed_eol_apple.csv", 3_886, 0, None, None, {"3": 2_187, "1": 1_257, "5": 442}),
    ("messy/one_class_per_file_mixed_bytes_bullish.txt=Bullish", 707, 0, None, None, {"Bullish": 707}),
    (
        "messy/semicolon_unquoted_trailing_null_stocktwits.csv",
        *(2_873, 23, None, "tag"),
        {"NULL": 1_674, "Bullish": 989, "Bearish": 210},
    ),
    (
        "messy/tsv_named_csv_unlabelled_crypto.csv",
        *(4_733, 0, None, "crypto_type"),
        {"Bitcoin": 1_000, "ethereum": 1_000, "Cardano": 998, "dogecoin": 962, "ShibainuCoin": 773},
    ),
    ("btc_1897.csv", 1_897, 0, None, None, {"0.0": 860, "1.0": 779, "-1.0": 258}),
    ("btc_500.json", 500, 0, None, None, {"Neutral": 235, "Positive": 225, "Negative": 40}),
    ("btc_kaggle_50k", 50_859, 0, None, None, {"positive": 22_937, "neutral": 21_939, "negative": 5_983}),
    ("crypto_surge.csv", 562, 0, None, None, {"Positive": 302, "Negative": 260}),
    (
        "cryptolin/CryptoLin_IE.csv",
        *(2_683, 0, "news", "final_manual_labelling"),
        {"1": 1_356, "0": 942, "-1": 385},
    ),
    ("tfns/sent_train.csv", 9_543, 0, None, None, {"2": 6_178, "1": 1_923, "0": 1_442}),
]


def read(name: str) -> Table:
    path = REAL / name.partition("=")[0]
    if not path.exists():
        pytest.skip(f"{path} is not there")
    return read_sources([str(REAL / name)])


@pytest.mark.parametrize(("name", "rows", "rejected", "text", "label", "counts"), FILES, ids=[row[0] for row in FILES])
def test_real_files_are_read_rightly(
    name: str, rows: int, rejected: int, text: str | None, label: str | None, counts: dict[str, int]
) -> None:
    table = read(name)
    assert (len(table), len(table.rejected)) == (rows, rejected)
    columns = find_columns(table, text, label)
    assert Counter(map(str, table.values[columns.label])) == counts
    assert len(set(table.numbers)) == rows
    texts = [clean(cell or "") for cell in texts_of(table, columns.text)]
    assert sum(map(bool, texts)) > 0.99 * rows


def test_the_encodings_of_real_files() -> None:
    found = {name: read(name).files[0].encoding for name, *_ in FILES if name.startswith("messy")}
    assert {name.split("/")[1][:9]: encoding for name, encoding in found.items()} == {
        "cp1252_st": "UTF-8, 141 of 6,088 lines cp1252",
        "crcrlf_ro": "UTF-8",
        "headerles": "UTF-8",
        "latin1_mi": "mac_roman",
        "one_class": "cp1252",
        "semicolon": "UTF-8",
        "tsv_named": "UTF-8",
    }


def test_rows_with_the_delimiter_in_their_text_are_rejected_by_line() -> None:
    table = read("messy/semicolon_unquoted_trailing_null_stocktwits.csv")
    assert [row.line for row in table.rejected][:6] == [129, 451, 462, 466, 804, 833]
    assert table.columns == ("messageId", "userId", "timestamp", "message", "tag")
    assert Counter(row.reason for row in table.rejected) == {
        "expected 6 columns, got 7": 19,
        "expected 6 columns, got 8": 3,
        "expected 6 columns, got 9": 1,
    }


def test_pounds_that_were_saved_in_mac_roman_come_back() -> None:
    texts = texts_of(read("messy/latin1_mixed_eol_apple.csv"), "text")
    assert sum("£" in clean(text or "") for text in texts) == 11
    assert sum("é" in clean(text or "") for text in texts) == 2


def test_ratings_without_a_header_are_read_by_number() -> None:
    table = read("vader_tweets/tweets_GroundTruth.txt")
    assert (len(table), table.columns) == (4_200, ("1", "2", "3"))
    assert read("vader_tweets/tweets_anonDataRatings.txt").columns == ("1", "2", "3", "4")


def test_a_table_and_its_legend_are_not_one_table() -> None:
    with pytest.raises(PipelineError, match=r"mapping\.txt: expected the columns .* 'label', 'split'; got '1'"):
        read("tweeteval_sentiment")
