import re
import xml.etree.ElementTree as ET
from collections.abc import Callable

import pytest
from synthetic_content import LABELS, make_content

from pipeline.scoring import data_figures as draw

CONTENT = make_content()
STEPS = list(CONTENT["rows"]["dropped"].items())
GAUGE = {name: {k: v for k, v in each.items() if k != "test_rows"} for name, each in CONTENT["leakage"].items()}
BINS = CONTENT["timeline"]["bins"]
HISTOGRAM = CONTENT["lengths"]["tokens"]["histogram"]
FIGURES: dict[str, Callable[[], str]] = {
    "waterfall": lambda: draw.waterfall(41_897, STEPS, CONTENT["rows"]["kept"]),
    "class_bars": lambda: draw.class_bars(CONTENT["classes"], LABELS),
    "gauge": lambda: draw.gauge(GAUGE, "leakage"),
    "share_bars": lambda: draw.share_bars({"a": 0.25, "b": 1.0}, "copies", "shares"),
    "histogram": lambda: draw.histogram(HISTOGRAM, {"median": 36, "limit": 64}, "tokens"),
    "timeline": lambda: draw.timeline("day", BINS, LABELS, CONTENT["splits"]["boundaries"]),
}


def _texts(svg: str) -> list[str]:
    return [element.text or "" for element in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]  # noqa: S314


def test_the_waterfall_shows_every_step() -> None:
    texts = _texts(FIGURES["waterfall"]())
    assert {"read", "kept", "41,897", f"{CONTENT['rows']['kept']:,}"} <= set(texts)
    assert {f"−{n:,}" for _, n in STEPS} | {reason for reason, _ in STEPS} <= set(texts)
    assert "all" not in texts
    grown = _texts(draw.waterfall(41_897, STEPS, 20_000, synthetic=266))
    assert {"synthetic", "all", "20,000", "+266", "20,266"} <= set(grown)


def test_class_bars_show_the_sums_and_the_splits() -> None:
    sums = {f"{sum(row[label] for row in CONTENT['classes'].values()):,}" for label in LABELS}
    assert sums | {*LABELS, "train", "val", "test"} <= set(_texts(FIGURES["class_bars"]()))


def test_the_gauge_shows_every_share() -> None:
    texts = _texts(FIGURES["gauge"]())
    assert [t for t in texts if t.endswith("%")] == [
        f"{100 * s:.1f} %" for each in GAUGE.values() for s in each.values()
    ]


def test_next_to_nothing_is_not_called_nothing() -> None:
    assert "< 0.1 %" in _texts(draw.gauge({"made": {"near": 0.0001}}, "leakage"))
    assert {"0.0 %", "> 99.9 %"} <= set(_texts(draw.share_bars({"a": 0.0, "b": 0.9999}, "copies", "shares")))


def test_a_mark_beyond_the_lengths_is_left_out() -> None:
    texts = _texts(draw.histogram([[0, 10, 3], [10, 20, 1]], {"median": 4, "limit": 96}, "tokens"))
    assert "median 4" in texts
    assert "limit 96" not in texts


def test_an_open_bin_does_not_press_the_others_together() -> None:
    bins = [[0, 10, 3], [10, 20, 5], [20, 9000, 1]]
    assert draw.is_open(bins)
    assert not draw.is_open(bins[:2])
    texts = _texts(draw.histogram(bins, {"median": 12, "limit": 96}, "tokens"))
    assert "30" in texts
    assert not [text for text in texts if text.replace(",", "").isdigit() and int(text.replace(",", "")) > 40]
    assert "limit 96" not in texts


def test_the_time_line_shows_each_class_with_its_sum_and_the_boundaries() -> None:
    texts = _texts(FIGURES["timeline"]())
    sums = {f"{sum(counts[label] for _, counts in BINS):,}" for label in LABELS}
    assert sums | {*LABELS, "val", "test"} <= set(texts)


@pytest.mark.parametrize("name", FIGURES)
def test_figures_are_the_same_twice_and_need_no_style(name: str) -> None:
    svg = FIGURES[name]()
    assert svg == FIGURES[name]()
    assert "style" not in svg.replace("font-style", "")
    assert "currentColor" in svg
    assert "#000000" not in svg
    assert "#ffffff" not in svg
    ids, references = re.findall(r' id="([^"]+)"', svg), re.findall(r'(?:url\(#|href="#)([^")]+)', svg)
    assert len(ids) == len(set(ids))
    assert set(references) <= set(ids)


@pytest.mark.parametrize("label", ["<b>", r"$\frac{$", "نعم 好 🚀", "a\ud800b" + "x" * 300])
@pytest.mark.filterwarnings("error")
def test_any_label_can_be_drawn(label: str) -> None:
    counts = {"a": 1, label: 3}
    assert draw.class_bars({"train": counts}, list(counts))
    assert draw.share_bars({"a": 0.5, label: 0.1}, "copies", "shares")
    assert draw.waterfall(5, [(label, 2)], 3)
    assert draw.timeline("year", [("2024-01-01", counts)], list(counts), {})


@pytest.mark.filterwarnings("error")
def test_nothing_can_be_drawn() -> None:
    assert draw.waterfall(0, [], 0)
    assert draw.class_bars({"train": {"a": 0}}, ["a"])
    assert draw.gauge({"made": {"near": 0.0}}, "leakage")
    assert draw.histogram([[0, 1, 0]], {}, "tokens")
    assert draw.timeline("hour", [("2024-01-01T03:00:00+02:00", {})], ["a"], {"val": "2024-01-02"})


def test_a_long_time_line_stays_small() -> None:
    bins = [(f"{1990 + i // 12}-{i % 12 + 1:02}-01", {"a": i, "b": 1}) for i in range(400)]
    assert len(draw.timeline("month", bins, ["a", "b"], {})) < 120_000
