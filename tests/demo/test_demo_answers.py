"""What the demo says of a tweet, on the tiny model."""

import gc
import json
import math
import shutil
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import WORDS

from pipeline.artifacts import Run
from pipeline.demo import answers
from pipeline.demo.shelf import Loaded, Shelf, find_runs
from pipeline.errors import PipelineError
from pipeline.model.decoding import Decoded
from pipeline.predictions import Reading


@pytest.fixture(scope="module")
def at_hand(easy_run: Path) -> Iterator[Loaded]:
    with Shelf({"easy": Run.load(easy_run)}).open() as found:
        yield found


def made(*log_likelihoods: float, completion: str = "Positive") -> Decoded:
    labels = ("Negative", "Neutral", "Positive")
    return Decoded(completion, completion if completion in labels else None, log_likelihoods, labels, False)


@pytest.mark.parametrize("tweet", ["", "  \n", None, 7, ["a"], "\u200b", "x" * 1001])
def test_what_is_no_tweet_is_refused_in_words(tweet: object) -> None:
    with pytest.raises(PipelineError, match=r"Type a tweet first|at most 1,000 characters"):
        answers.checked(tweet)


def test_a_tweet_is_cleaned_as_for_the_training() -> None:
    assert answers.checked(" fish &amp; chips\u200b ") == "fish & chips"


def test_an_unsure_answer_is_marked_below_the_runs_threshold() -> None:
    decoded = made(-2.0, -2.0, -0.8)
    share = math.exp(-0.8) / (math.exp(-0.8) + 2 * math.exp(-2.0))
    why = "this run has not been evaluated"
    for threshold, said in (
        (share + 0.01, "Would abstain"),
        (share - 0.01, "Sure enough"),
        (None, f"No threshold to abstain below: {why}."),
    ):
        answer = answers.of_tuned(decoded, Reading(threshold=threshold).read(decoded), threshold, why)
        assert said in answer.note
        assert answer.probabilities["Positive"] == pytest.approx(share)


def test_an_answer_that_is_no_label_says_so() -> None:
    answer = answers.of_untuned(made(-9.0, -9.0, -9.0, completion="Well, I'd say"))
    assert answer.label == "no label"
    assert "which is no label" in answer.note
    assert f"{3 * math.exp(-9.0):.1%}" in answer.note


def test_the_effect_of_a_word_is_what_leaving_it_out_takes(at_hand: Loaded) -> None:
    text = "love it,  so happy\ntoday"
    (whole,) = at_hand.classifier.decode([text])
    found = answers.words(at_hand.classifier, text, "Positive", whole)
    assert "".join(piece for piece, _ in found.effects) == text
    left_out = {
        "love": "it,  so happy\ntoday", "it,": "love so happy\ntoday", "so": "love it,  happy\ntoday",
        "happy": "love it,  so today", "today": "love it,  so happy",
    }  # fmt: skip
    effects = {piece: effect for piece, effect in found.effects if effect is not None}
    assert list(effects) == list(left_out)
    for word, rest in left_out.items():
        (without,) = at_hand.classifier.decode([rest])
        expected = math.log(whole.probabilities["Positive"]) - math.log(without.probabilities["Positive"])
        assert effects[word] == pytest.approx(expected, abs=1e-4)


def test_the_number_of_words_is_capped_and_said(at_hand: Loaded) -> None:
    text = " ".join(["moon"] * (answers.MAX_WORDS + 3))
    (whole,) = at_hand.classifier.decode([text])
    found = answers.words(at_hand.classifier, text, "Neutral", whole)
    assert sum(effect is not None for _, effect in found.effects) == answers.MAX_WORDS
    assert "".join(piece for piece, _ in found.effects) == text
    assert f"first {answers.MAX_WORDS} of {answers.MAX_WORDS + 3} words" in answers.told(found)


def test_words_are_marked_by_what_they_do() -> None:
    found = answers.Words("Positive", [("a", 0.6), (" ", None), ("b", 0.2), ("c", 0.05), ("d", -0.2), ("e", -3)], 5, 5)
    assert [kind for _, kind in answers.marked(found)] == [
        "strongly for",  "for", None, "against", "strongly against",
    ]  # fmt: skip
    behind = "Words are left out one by one."
    assert answers.told(found) == f"Without 'e', Positive would be more probable: more than 10 times as much. {behind}"
    for effect, said in (
        (0.174, "less probable: 0.84 times as much"),
        (-0.7, "more probable: 2 times as much"),
        (9, "less probable: less than 0.01 times as much"),
    ):
        alone = answers.Words("muy bueno", [("¡pésimo!", effect)], 1, 1)
        assert answers.told(alone) == f"Without '¡pésimo!', muy bueno would be {said}. {behind}"
    assert "No word alone" in answers.told(answers.Words("Positive", [("a", 0.01)], 1, 1))


def test_the_three_systems_answer_a_tweet(at_hand: Loaded) -> None:
    text = WORDS["Positive"][0]
    decoded, prediction = answers.tuned(at_hand, text)
    assert prediction.label == "Positive"
    assert answers.untuned(at_hand.classifier, text).log_likelihoods != decoded.log_likelihoods
    bag = answers.of_bag(at_hand.bag, text)
    assert max(bag.probabilities, key=bag.probabilities.__getitem__) == "Positive"
    assert answers.tuned(at_hand, text)[0] == decoded  # the adapter is on again


def test_without_the_data_set_there_is_no_tfidf_and_it_says_why(easy_run: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(easy_run, moved)
    manifest = json.loads((moved / "manifest.json").read_text())
    manifest["parents"]["dataset"]["path"] = str(tmp_path / "gone")
    (moved / "manifest.json").write_text(json.dumps(manifest))
    with Shelf({"moved": Run.load(moved)}).open() as found:
        answer = answers.of_bag(found.bag, "love it")
    assert (answer.label, answer.probabilities) == ("", {})
    assert "gone" in answer.note
    assert "--" not in answer.note  # the demo has no option for it


def test_one_model_is_in_memory_at_a_time(easy_run: Path, tmp_path: Path) -> None:
    shutil.copytree(easy_run, tmp_path / "runs" / "b")
    shutil.copytree(easy_run, tmp_path / "runs" / "a")
    (tmp_path / "runs" / "notes").mkdir()
    shelf = Shelf(find_runs([str(tmp_path / "runs")]))
    assert shelf.names == ["a", "b"]
    with shelf.open() as first:
        model = weakref.ref(first.classifier)
    with shelf.open("a") as again:
        assert again.classifier is model()
    del first, again
    with shelf.open("b"):
        gc.collect()
        assert model() is None
    odd: Any
    for odd in ("c", ["a"], {}):
        with pytest.raises(PipelineError, match="expected one of a, b"), shelf.open(odd):
            pass


def test_a_page_that_waits_keeps_no_model(easy_run: Path, tmp_path: Path) -> None:
    from pipeline.demo.page import build

    for name in ("a", "b"):
        shutil.copytree(easy_run, tmp_path / name)
    shelf = Shelf(find_runs([str(tmp_path)]))
    page = build(shelf, {}, "http://127.0.0.1/")
    answer = next(each.fn for each in page.fns.values() if each.name == "answer")
    assert answer is not None
    for _ in answer("love it", "a"):  # between two of its steps; the last waits for TF-IDF
        with shelf.open("a") as loaded:
            model = weakref.ref(loaded.classifier)
        del loaded
        with shelf.open("b"):
            gc.collect()
            assert model() is None


def test_runs_of_one_name_are_told_apart(easy_run: Path, tmp_path: Path) -> None:
    for home in ("x", "y"):
        shutil.copytree(easy_run, tmp_path / home / "same")
    places = [str(tmp_path / home / "same") for home in ("x", "y")]
    assert list(find_runs([*places, places[0]])) == places
    with pytest.raises(PipelineError, match="no such folder"):
        find_runs([str(tmp_path / "none")])
    (tmp_path / "empty").mkdir()
    with pytest.raises(PipelineError, match=r"no manifest\.json"):
        find_runs([str(tmp_path / "empty")])
