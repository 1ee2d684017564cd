import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest

from pipeline.scoring.figures import class_distribution, comparison_figure, confusion_figure

LABELS = ("Negative", "Neutral", "Positive")
COUNTS = {"train": {"Negative": 1234, "Neutral": 20, "Positive": 300}, "test": {"Negative": 40, "Positive": 5}}
MATRIX = [[30, 20, 4, 2], [10, 300, 12, 0], [3, 22, 130, 5]]
SCORES = {
    "Tuned model": {"value": 0.71, "low": 0.6, "high": 0.8},
    "Majority guess": {"value": 0.2, "low": 0.2, "high": 0.2},
}


def _texts(svg: str) -> list[str]:
    return [element.text or "" for element in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]  # noqa: S314


def test_class_distribution_shows_every_number() -> None:
    texts = _texts(class_distribution(COUNTS, LABELS))
    assert [t for t in texts if t in LABELS] == list(LABELS)
    assert {"1,234", "20", "300", "40", "0", "5", "train", "test"} <= set(texts)


def test_confusion_figure_shows_counts_recall_and_precision() -> None:
    texts = _texts(confusion_figure(MATRIX, LABELS))
    assert texts.count("unparsed") == 3
    matrix = np.array(MATRIX)
    recall = [f"{100 * v:.0f}" for v in (matrix / matrix.sum(axis=1, keepdims=True)).ravel()]
    precision = [f"{100 * v:.0f}" for v in (matrix / matrix.sum(axis=0)).ravel()]
    shown = [t for t in texts if t.isdigit()]
    assert shown == [str(v) for v in matrix.ravel()] + recall + precision


def test_comparison_figure_names_every_system_with_its_value() -> None:
    assert {"Tuned model", "0.710", "Majority guess", "0.200"} <= set(_texts(comparison_figure(SCORES)))


@pytest.mark.parametrize(
    "svg", [class_distribution(COUNTS, LABELS), confusion_figure(MATRIX, LABELS), comparison_figure(SCORES)]
)
def test_figures_need_no_inline_style_and_fit_any_ground(svg: str) -> None:
    assert svg.startswith("<svg ")
    assert "style" not in svg.replace("font-style", "")
    assert "currentColor" in svg
    assert "#000000" not in svg
    assert "#ffffff" not in svg
    assert "<metadata" not in svg
    ids, references = re.findall(r' id="([^"]+)"', svg), re.findall(r'(?:url\(#|href="#)([^")]+)', svg)
    assert len(ids) == len(set(ids))
    assert set(references) <= set(ids)


def test_ids_of_different_figures_do_not_meet() -> None:
    figures = [class_distribution(COUNTS, LABELS), confusion_figure(MATRIX, LABELS), comparison_figure(SCORES)]
    ids = [i for svg in figures for i in re.findall(r' id="([^"]+)"', svg)]
    assert len(ids) == len(set(ids))


def test_the_same_input_gives_the_same_bytes_in_another_process() -> None:
    code = (
        "import sys; from pipeline.scoring.figures import *; "
        f"sys.stdout.write(class_distribution({COUNTS!r}, {LABELS!r}))"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo", "LC_ALL": "C", "PYTHONIOENCODING": "utf-8"}
    other = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=True, env=environment, cwd=Path(__file__).parents[2]
    )
    assert other.stdout.decode() == class_distribution(COUNTS, LABELS)


@pytest.mark.parametrize("label", ["<b>", r"$\frac{$", "$a_$", "نعم", "好", "🚀", "a\ud800b", "x" * 300, "a & b"])
@pytest.mark.filterwarnings("error")
def test_any_label_can_be_drawn(label: str) -> None:
    svg = confusion_figure([[1, 2, 0], [0, 1, 0]], ["a", label])
    assert label.replace("\ud800", "\ufffd")[:23] in "".join(_texts(svg)).replace("…", "")
    assert _texts(class_distribution({"train": {label: 3}}, ["a", label]))


def test_labels_that_look_alike_when_cut_keep_their_own_bars() -> None:
    one, two = "x" * 40 + "1", "x" * 40 + "2"
    assert {"11", "22"} <= set(_texts(class_distribution({"train": {one: 11, two: 22}}, [one, two])))


def test_drawing_leaves_no_global_state() -> None:
    before = dict(mpl.rcParams)
    class_distribution(COUNTS, LABELS)
    assert dict(mpl.rcParams) == before


def test_a_label_cannot_turn_the_text_around_it() -> None:
    drawn = confusion_figure([[3, 1, 0], [0, 4, 0]], ["up\u202edown", "b"])
    assert "\u202e" not in drawn
    assert "up\ufffddown" in drawn
