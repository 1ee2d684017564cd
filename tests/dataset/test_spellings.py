import itertools
import shlex
import string

import pytest

from pipeline.dataset.labels import find_classes
from pipeline.dataset.spellings import alike, doubts

FIVE = {"bueno": 101, "malo": 48, "muy bueno": 67, "neutral": 65, "pésimo": 38}


def edits(word: str) -> set[str]:
    """Every word of small letters that one edit makes, written out."""
    cuts = [(word[:i], word[i:]) for i in range(len(word) + 1)]
    made = {a + b[1:] for a, b in cuts if b} | {a + b[1] + b[0] + b[2:] for a, b in cuts if len(b) > 1}
    for a, b in cuts:
        made |= {a + c + b for c in string.ascii_lowercase} | {a + c + b[1:] for c in string.ascii_lowercase if b}
    return made


@pytest.mark.parametrize(("typo", "meant"), [("buemo", "bueno"), ("pesimo", "pésimo"), ("neutrall", "neutral")])
@pytest.mark.parametrize("rows", [1, 3])
def test_a_short_typo_and_a_lost_accent_are_asked_about(typo: str, meant: str, rows: int) -> None:
    doubt = doubts({**FIVE, typo: rows})
    assert doubt is not None
    assert doubt.startswith(f"{typo!r} ({rows}) looks like {meant!r} ({FIVE[meant]}); if so, say --labels ")
    labels = find_classes([], shlex.split(doubt)[-1]).labels
    assert sorted(labels) == sorted(FIVE)  # the typo is offered as no class


def test_one_edit_of_four_letters_or_more_is_alike_and_two_are_not() -> None:
    for word in ("malo", "bueno"):
        once = edits(word)
        twice = set(itertools.chain.from_iterable(map(edits, itertools.islice(sorted(once), 0, None, 9))))
        assert all(alike(other, word) for other in once if len(other) >= 4)
        # What is no edit but how the word begins, or nearly as long as it, is alike for another reason.
        other = {each for each in twice - once - {word} if len(each) == len(word)}
        assert len(other) > 500
        assert not any(alike(each, word) for each in other)


@pytest.mark.parametrize(
    ("rare", "frequent"),
    [
        *(("bad", "sad"), ("4 stars", "5 stars"), ("class 1", "class 2"), ("muy bueno", "bueno")),
        *(("比较消极", "比较积极"), ("매우좋음", "매우나쁨"), ("bueno pero caro", "bueno")),
    ],
)
def test_other_labels_stay_labels(rare: str, frequent: str) -> None:
    assert doubts({rare: 2, frequent: 100}) is None


def test_only_a_rare_name_is_doubted_but_for_accents() -> None:
    assert doubts({"food": 60, "good": 90}) is None
    assert "'pesimo' (15) looks like 'pésimo' (20)" in (doubts({"pesimo": 15, "pésimo": 20}) or "")
    assert "'pésimo' (15) looks like 'pesimo' (20)" in (doubts({"pesimo": 20, "pésimo": 15}) or "")
    assert "labels pesimo=pésimo,pésimo" in (doubts({"pesimo": 5, "pésimo": 5}) or "").replace("'", "")


def test_a_typo_of_a_typo_means_the_word() -> None:
    doubt = doubts({"buemmo": 1, "buemo": 15, "bueno": 200, "malo": 180})
    assert doubt is not None
    labels = find_classes([], shlex.split(doubt)[-1])
    assert (labels.labels, labels.label_of["buemmo"]) == (("bueno", "malo"), "bueno")
