from typing import Any

import pytest

from pipeline.dataset.summary import summary_table

CONTENT: dict[str, Any] = {
    "rows": {"read": 1200, "kept": 1000, "rejected": 7, "dropped": {"link": 93, "copy of a validation row": 100}},
    "classes": {"train": {"Down": 300, "Up": 350}, "val": {"Down": 50, "Up": 50}, "test": {"Down": 100, "Up": 150}},
    "leakage": {
        "made": {"test_rows": 250, "exact": 0, "template": 0, "near": 0},
        "random_split": {"test_rows": 250, "exact": 0.2, "template": 0.3, "near": 0.45},
        "against": {"test_rows": 250, "exact": 0.01, "template": 0.02, "near": 0.03},
    },
}


def test_table() -> None:
    assert summary_table([CONTENT]).splitlines() == [
        "rows read                       1,200",
        "  rejected                         -7",
        "  link                            -93",
        "  copy of a validation row       -100",
        "rows kept                       1,000",
        "",
        "class    train      val     test",
        "Down       300       50      100",
        "Up         350       50      150",
        "",
        "test rows with a copy in train    exact  template      near",
        "  this split                      0.0 %     0.0 %     0.0 %",
        "  random split                   20.0 %    30.0 %    45.0 %",
        "rows with a copy in --against     exact  template      near",
        "  test                            1.0 %     2.0 %     3.0 %",
    ]


@pytest.mark.parametrize(
    ("splits", "line"),
    [
        ({"by": "random", "column": None, "boundaries": None, "folds": None}, "split at random, copies together"),
        ({"by": "random", "folds": {"n": 5}}, "split at random, in 5 folds; every row is in the test of one"),
        ({"by": "column", "column": "author"}, "split by column 'author', copies together"),
        ({"by": "time", "boundaries": {"val": "2018-03-23T00:00:00+00:00", "test": "2018-03-25T05:15:12+00:00"}},
         "split by time: val from 2018-03-23, test from 2018-03-25 05:15:12"),
        ({"by": "time", "boundaries": {"test": "2018-03-23T00:00:00+00:00"}, "later_copies": {"train": 3}},
         "split by time: test from 2018-03-23; 3 rows written later stay with a copy from before"),
        ({"by": "random", "own_files": ["test"]}, "split at random, copies together; test is your own file"),
        ({"by": "random", "own_files": ["val", "test"]},
         "split as your files are: val and test are your own, train is the rest"),
    ],
)  # fmt: skip
def test_split_is_told_in_a_line(splits: dict[str, Any], line: str) -> None:
    assert line in summary_table([{**CONTENT, "splits": splits}]).splitlines()


def test_alarms_come_first_and_lines_are_short() -> None:
    content = {
        **CONTENT,
        "alarms": [{"kind": "machine_made", "text": "The labels are the output of a word list. " * 6}],
        "classes": {f"fold-{i}": {"x" * 300: 1, "Up": 2} for i in range(1, 11)},
        "splits": {"by": "column", "column": "c" * 300},
    }
    lines = summary_table([content]).splitlines()
    assert lines[0].startswith("! The labels are the output")
    assert lines[1].startswith("  ")
    assert max(map(len, lines)) <= 100


def test_folds_tell_what_they_share_once() -> None:
    shared, own = {"kind": "campaign", "text": "One campaign."}, {"kind": "few_test_rows", "text": "Too few here."}
    content = {**CONTENT, "splits": {"by": "random", "folds": {"n": 2}}, "alarms": [shared]}
    lines = summary_table([content, {**content, "alarms": [shared, own]}]).splitlines()
    once = ("! One campaign.", "! Too few here.", "rows kept                       1,000", "fold 1 of 2", "fold 2 of 2")
    assert [lines.count(line) for line in once] == [1] * len(once)
    assert lines.index("fold 2 of 2") < lines.index("! Too few here.")
    assert lines.count("Up         350       50      150") == 2


def test_raters_are_told() -> None:
    raters: dict[str, Any] = {"krippendorff_alpha": 0.412, "low": 0.3, "high": 0.5, "items": 1}
    raters["human_ceiling"] = {"macro_f1": 0.62, "accuracy": 0.7, "low": 0.55, "high": 0.7}
    table = " ".join(summary_table([{**CONTENT, "labels": {"raters": raters}}]).split())
    assert "raters Krippendorff's alpha 0.41 [0.30, 0.50] on 1 text;" in table
    assert "macro-F1 0.62 [0.55, 0.70]" in table
