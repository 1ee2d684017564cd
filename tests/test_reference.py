"""The reports that are kept in git: their table, and that they hold no text and no path of anybody."""

import json
import re
from pathlib import Path

import pytest

from benchmarks.reference import ReferenceConfig, reference, table
from pipeline.errors import PipelineError

REPORTS = Path(__file__).resolve().parents[1] / "reports"
KEPT = [REPORTS / name for name in ("btc_1897", "vader_tweets", "tweeteval_roberta")]


def test_the_table_is_that_of_the_reports() -> None:
    assert table(KEPT) in (REPORTS / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("folder", KEPT, ids=lambda folder: folder.name)
def test_a_kept_report_has_neither_texts_nor_paths_of_a_machine(folder: Path) -> None:
    page = (folder / "report.html").read_text(encoding="utf-8")
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    assert "The texts are not shown in this report." in page
    errors = page.partition('<section id="errors">')[2].partition("</section>")[0]
    assert errors  # the tests of behaviour have made-up tweets
    assert 'class="tweet"' not in errors
    assert metrics["drift"]["telling_words"] == []
    for text in (page, json.dumps(metrics)):
        assert not re.search(r"(?<![\w.~<])/(?:home|root|tmp|Users|work|mnt)/", text)


def test_a_file_without_the_marks_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "README.md"
    path.write_text("mine", encoding="utf-8")
    with pytest.raises(PipelineError, match="expected the lines"):
        reference(ReferenceConfig([str(folder) for folder in KEPT], str(path)))
    assert path.read_text(encoding="utf-8") == "mine"
