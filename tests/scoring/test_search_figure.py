import re
import xml.etree.ElementTree as ET
from typing import Any

import pytest

from pipeline.scoring.search_figure import search_figure

LABELLED = {"learning rate", "rank of LoRA", "layers with LoRA", "class weights", "sampling", "B learns faster, times"}


def trial(number: int, state: str = "complete", score: float | None = 0.5, **changes: Any) -> dict[str, Any]:
    """A line of search.jsonl; ``r`` and ``targets`` are those of LoRA."""
    settings = {
        "learning_rate": 5e-4,
        "lora.r": changes.pop("r", 16),
        "lora.alpha": 32,
        "lora.target_modules": changes.pop("targets", ["all-linear"]),
        "class_weights": "none",
        "sampling": "natural",
        "b_learning_rate": 1.0,
    }
    line = {"trial": number, "state": state, "settings": settings | changes, "steps": 9, "scores": [], "seconds": 1.0}
    return line if score is None else line | {"score": score}


TRIALS = [
    trial(1),
    trial(2, score=0.62, learning_rate=1.2e-3, r=4, targets=["q_proj", "v_proj"]),
    trial(3, "pruned", 0.41, learning_rate=7e-5, class_weights="balanced"),
    trial(4, "failed", None, learning_rate=4.9e-3, sampling="sqrt"),
]


def texts(svg: str) -> list[str]:
    return [element.text or "" for element in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]  # noqa: S314


def marks(svg: str) -> int:
    """Dots, crosses and rings: what is used again and again, or has four curves and no more."""
    return len(re.findall(r"<use [^>]*fill", svg))


def test_every_trial_is_marked_in_every_panel_and_named() -> None:
    drawn = search_figure(TRIALS, 2, "macro_f1")
    words = texts(drawn)
    assert {"1", "2", "3", "4"} <= set(words)
    assert set(words) >= LABELLED | {"all-linear", "q v", "balanced", "sqrt", "chosen", "as given", "pruned", "failed"}
    assert words.count("macro-F1") == 4  # at the left of each row
    more = search_figure([*TRIALS, trial(5, score=0.55)], 2, "macro_f1")
    assert marks(more) - marks(drawn) == len(LABELLED)


@pytest.mark.parametrize("number", [2, 60])
def test_it_is_read_from_few_trials_and_from_many(number: int) -> None:
    trials = [trial(i + 1, score=i / 100, learning_rate=1e-4 * (i + 1)) for i in range(number)]
    words = texts(search_figure(trials, number, "accuracy"))
    assert {"1", str(number)} <= set(words)
    assert ("30" in words) is False


def test_trials_without_any_score_can_be_drawn() -> None:
    assert texts(search_figure([trial(1, "failed", None), trial(2, "failed", None)], 1, "macro_f1"))


def test_the_same_trials_give_the_same_bytes_and_no_inline_style() -> None:
    drawn = search_figure(TRIALS, 2, "macro_f1")
    assert drawn == search_figure(TRIALS, 2, "macro_f1")
    assert drawn.startswith("<svg ")
    assert "style" not in drawn.replace("font-style", "")
    assert "currentColor" in drawn


@pytest.mark.parametrize("name", ["<b>", "a & b", "$x$", "\u202eevil", "x" * 300])
@pytest.mark.filterwarnings("error")
def test_any_name_of_a_layer_can_be_drawn(name: str) -> None:
    drawn = search_figure([trial(1), trial(2, targets=[name])], 1, "macro_f1")
    assert "\u202e" not in drawn
    assert any(text.startswith(name.replace("\u202e", "\ufffd")[:20]) for text in texts(drawn))
