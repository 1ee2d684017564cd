from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.dataset import lengths as module
from pipeline.dataset.lengths import TokenCounter, describe_lengths


@settings(max_examples=80, deadline=None, derandomize=True)
@given(st.lists(st.integers(0, 300) | st.integers(0, 10_000), min_size=1, max_size=200))
def test_histogram_holds_every_text_once(lengths: list[int]) -> None:
    found = describe_lengths(["x" * length for length in lengths], seed=0)["characters"]
    bins = found["histogram"]
    assert [n for *_, n in bins] == [sum(low <= length < high for length in lengths) for low, high, _ in bins]
    assert sum(n for *_, n in bins) == len(lengths)
    assert all(bins[i][1] == bins[i + 1][0] for i in range(len(bins) - 1))
    assert 1 <= len(bins) <= 26
    for name, share in (("median", 50), ("p95", 95)):
        within = [length for length in lengths if 100 * sum(each <= length for each in lengths) >= share * len(lengths)]
        assert (found[name], type(found[name])) == (min(within), int)
    assert found["max"] == max(lengths)


def test_one_long_text_does_not_flatten_the_histogram() -> None:
    bins = describe_lengths(["x" * (i % 140) for i in range(1000)] + ["x" * 9000], seed=0)["characters"]["histogram"]
    assert [high - low for low, high, _ in bins[:-1]] == [10] * (len(bins) - 1)
    assert bins[-1] == [130, 9001, 71]


def test_tokens_are_counted_by_the_model() -> None:
    words = TokenCounter("words", lambda texts: [len(text.split()) for text in texts], limit=3)
    found = describe_lengths(["a", "a b", "a b c", "a b c d"], words, seed=0)["tokens"]
    assert (found["tokenizer"], found["limit"], found["shortened"]) == ("words", 3, 1)
    assert (found["median"], found["max"]) == (2, 4)
    assert describe_lengths(["a"], seed=0)["tokens"] is None


def test_of_many_texts_a_sample_is_counted_but_none_that_is_shortened_is_missed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_MOST", 50)
    counted: list[str] = []

    def count(texts: Sequence[str]) -> list[int]:
        counted.extend(texts)
        return [len(text.encode()) for text in texts]  # the finest tokens there are

    texts = ["x" * (i % 30) for i in range(1_000)] + ["y" * 11, "\u20bf" * 4, "z" * 10_000]
    found = describe_lengths(texts, TokenCounter("bytes", count, limit=29), seed=0)["tokens"]
    assert (found["n"], sum(n for *_, n in found["histogram"])) == (50, 50)
    assert (found["shortened"], found["max"]) == (1, 10_000)
    assert len(counted) == 51
    wider = describe_lengths(texts, TokenCounter("bytes", count, limit=10), seed=0)["tokens"]
    assert wider["shortened"] == sum(len(text.encode()) > 10 for text in texts)
