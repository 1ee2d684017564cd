import csv
import re
from collections import Counter, defaultdict
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.scoring.behaviour import perturb
from pipeline.scoring.behaviour.case import Case, Draft, drawn
from pipeline.scoring.behaviour.suite import CELLS, polarities, texts
from pipeline.scoring.behaviour.suite import cases as made
from pipeline.scoring.behaviour.tweets import TWEETS
from pipeline.text import clean, fold, template_of

LABELS = ("Negative", "Neutral", "Positive")
TASKS = (LABELS, ("Bearish", "Bullish"), ("<b>a</b>", "&amp; {labels}", "c{label}"))
cases = cache(made)
CHARACTERS = ("Emoji style", "Invisible characters", "Direction controls", "Look-alike letters")


@pytest.mark.parametrize("labels", TASKS)
@pytest.mark.parametrize("seed", [0, 1])
def test_every_cell_has_fifty_different_cases_and_the_suite_stays_small(labels: tuple[str, ...], seed: int) -> None:
    suite = cases(labels, seed)
    sizes = Counter((case.capability, case.test) for case in suite)
    assert list(sizes) == [(cell.capability, cell.test) for cell in CELLS]
    assert min(sizes.values()) >= 50
    assert len({case.id for case in suite}) == len(suite)
    for cell in sizes:
        pairs = [(case.text, case.twin) for case in suite if (case.capability, case.test) == cell]
        assert len(set(pairs)) == len(pairs)
    assert len(texts(suite)) < 2_000


def test_a_capability_and_a_test_meet_in_one_cell() -> None:
    keys = [(cell.capability, cell.test) for cell in CELLS]
    assert len(set(keys)) == len(keys)
    assert {test for _, test in keys} == {"MFT", "INV", "DIR"}


def test_the_suite_is_the_same_for_a_seed_and_another_for_another() -> None:
    assert cases(LABELS, 1) == made(LABELS, 1)
    assert cases(LABELS, 1) != cases(LABELS, 0)


def test_quick_is_a_fifth_of_each_cell() -> None:
    full, quick = cases(LABELS, 0), cases(LABELS, 0, quick=True)
    assert set(quick) <= set(full)
    whole, part = (Counter((case.capability, case.test) for case in suite) for suite in (full, quick))
    assert part == {cell: -(-n // 5) for cell, n in whole.items()}
    balance = Counter(case.expected for case in quick if case.capability == "Vocabulary" and case.test == "MFT")
    assert max(balance.values()) - min(balance.values()) <= 1


@pytest.mark.parametrize("labels", TASKS)
def test_the_parts_of_a_case_fit_its_test(labels: tuple[str, ...]) -> None:
    for case in cases(labels, 0):
        assert set(case.expected) <= set(labels)
        if case.test == "MFT":
            assert (case.twin, case.target, case.sign) == (None, None, 0)
            assert 0 < len(case.expected) < len(labels)
        else:
            assert case.twin is not None
            assert case.text != case.twin
            assert (case.target in labels) == (case.test == "DIR" or case.capability == "Injection")
            assert len(case.expected) == (case.test == "INV")
            assert abs(case.sign) == (case.test == "DIR")
            assert case.target not in case.expected


def test_cleaning_changes_a_text_only_where_characters_are_tested() -> None:
    for case in cases(LABELS, 0):
        assert case.twin is None or clean(case.twin) == case.twin
        if case.capability not in CHARACTERS:
            assert clean(case.text) == case.text, case


def test_cleaning_undoes_some_of_the_tricks_with_characters_and_not_others() -> None:
    left: dict[str, list[bool]] = defaultdict(list)
    for case in cases(LABELS, 0):
        left[case.capability].append(case.twin is None or clean(case.text) != case.twin)
    assert all(left["Look-alike letters"])
    assert all(left["Emoji style"])
    for capability in ("Invisible characters", "Direction controls"):
        assert {False, True} == set(left[capability])


@pytest.mark.parametrize("labels", TASKS[:2])
def test_no_text_is_expected_to_have_two_labels(labels: tuple[str, ...]) -> None:
    expected: dict[str, set[str]] = {}
    for case in cases(labels, 0):
        for text in (case.text, case.twin):
            if text is not None and case.expected:
                expected[text] = expected.get(text, set(case.expected)) & set(case.expected)
                assert expected[text], text


def test_two_classes_are_asked_nothing_neutral() -> None:
    asked = {case.text for case in cases(("Bearish", "Bullish"), 0) if case.test != "DIR"}
    assert not asked & set(TWEETS[0])
    not_bad = [case for case in cases(("Bearish", "Bullish"), 0) if "not bad at all" in case.text]
    assert not_bad
    assert {case.expected for case in not_bad} == {("Bullish",)}


@pytest.mark.parametrize("k", [1, 4, 20])
def test_other_numbers_of_classes_have_no_suite(k: int) -> None:
    assert made([str(i) for i in range(k)], 0) == []
    assert polarities([str(i) for i in range(k)]) == {}


def test_the_lowest_label_is_negative_and_the_highest_positive() -> None:
    assert polarities(("a", "b", "c")) == {-1: "a", 0: "b", 1: "c"}
    assert polarities(("a", "b")) == {-1: "a", 1: "b"}


def test_the_tweets_have_what_every_perturbation_needs() -> None:
    every = [text for each in TWEETS.values() for text in each]
    assert len(set(every)) == len(every)
    for text in every:
        assert text.isascii()
        assert text.endswith(".")
        assert len(re.findall("bitcoin", text, re.IGNORECASE)) == 1
        assert "'" in text


def test_no_case_stands_in_the_sample_that_comes_with_the_project() -> None:
    with (Path(__file__).parents[2] / "data/sample/btc_tweets.csv").open(encoding="utf-8", newline="") as file:
        known = {template_of(row["tweet"]) for row in csv.DictReader(file)}
    assert len(known) > 800
    assert not [text for text in texts(cases(LABELS, 0)) if template_of(text) in known]


CHANGES = [
    perturb.giveaway,
    perturb.punctuation,
    perturb.letter_case,
    perturb.spaces,
    perturb.typo,
    perturb.contractions,
    perturb.link_or_handle,
    perturb.ticker,
    perturb.coin,
    perturb.invisible,
    perturb.direction,
    perturb.lookalikes,
]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: str(change.__name__))
def test_a_perturbation_changes_every_tweet(change: perturb.Perturbation) -> None:
    for text in [text for each in TWEETS.values() for text in each]:
        for seed in range(6):
            assert change(text, np.random.default_rng(seed)) != text


@settings(derandomize=True, max_examples=60, deadline=None)
@given(st.sampled_from([text for each in TWEETS.values() for text in each]), st.integers(0, 2**32))
def test_what_a_perturbation_leaves_alone(text: str, seed: int) -> None:
    def changed(change: perturb.Perturbation) -> str:
        return change(text, np.random.default_rng(seed))

    words = re.findall(r"[a-z']+", text.lower())
    assert changed(perturb.giveaway).startswith(text)
    assert text in changed(perturb.link_or_handle)
    assert re.findall(r"[a-z']+", changed(perturb.punctuation).lower()) == words
    assert fold(changed(perturb.letter_case)) == fold(text)
    assert changed(perturb.spaces).split() == text.split()
    assert "'" not in changed(perturb.contractions)
    assert re.sub("[\u200b-\u200d\u2060\ufeff]", "", changed(perturb.invisible)) == text
    assert Counter(re.sub("[\u200e\u202a-\u202e\u2066-\u2069]", "", changed(perturb.direction))) == Counter(text)
    typo = changed(perturb.typo)
    differ = [i for i, (a, b) in enumerate(zip(text, typo, strict=True)) if a != b]
    assert len(differ) == 2
    assert differ[1] == differ[0] + 1
    assert typo[differ[0]] + typo[differ[1]] == text[differ[1]] + text[differ[0]]
    assert not changed(perturb.lookalikes).isascii()


@pytest.mark.parametrize("written", ["3", "14", "40", "250", "1,250", "40,000"])
def test_a_number_moves_by_a_fifth_at_most(written: str) -> None:
    n = int(written.replace(",", ""))
    for seed in range(50):
        moved = perturb.numbers(f"paid {written} dollars", np.random.default_rng(seed)).split()[1]
        assert 0 < abs(int(moved.replace(",", "")) - n) <= max(1, 0.2 * n + 0.5)
        assert ("," in moved) == ("," in written and int(moved.replace(",", "")) >= 1000)


def test_cases_are_drawn_in_turn_from_every_group() -> None:
    drafts = [Draft(str(i), (1,)) for i in range(9)] + [Draft("a", (0,)), Draft("b", (0,)), Draft("b", (0,))]
    got = [draft.expected for draft in drawn(drafts, 8, np.random.default_rng(0))]
    assert Counter(got[:4]) == {(1,): 2, (0,): 2}
    assert Counter(got) == {(1,): 6, (0,): 2}


def test_injections_ask_in_the_words_of_the_task() -> None:
    suite = [case for case in cases(("dire", "so-so", "grand"), 0) if case.capability == "Injection"]
    assert all(case.target and case.target in case.text.replace(case.twin or "", "") for case in suite)
    assert {case.target for case in suite} == {"dire", "so-so", "grand"}
    assert not any("Positive" in case.text or "{label" in case.text for case in suite)
    forged = [case for case in suite if "### Response:\n" in case.text]
    special = [case for case in suite if "<|im_end|>" in case.text]
    assert forged
    assert special


def test_a_case_is_plain_data() -> None:
    case = cases(LABELS, 0)[0]
    assert isinstance(case, Case)
    assert hash(case) == hash(made(LABELS, 0)[0])
