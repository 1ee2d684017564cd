import pytest

from pipeline.dataset.polarity import from_low_to_high, polarities, sign


@pytest.mark.parametrize(
    ("labels", "steps"),
    [
        (("Negative", "Neutral", "Positive"), [-1, 0, 1]),
        (("Bearish", "Bullish", "Neutral"), [-1, 1, 0]),
        (("POS", "neg"), [1, -1]),
        (("Neutral", "Positive"), [0, 1]),
        (("Very negative", "Negative", "Neutral", "Positive", "very-positive"), [-2, -1, 0, 1, 2]),
        (("slightly_bad", "Extremely  good"), [-0.5, 2]),
        (("Down", "Flat", "Up"), [-1, 0, 1]),
    ],
)
def test_names_say_which_way_a_class_points(labels: tuple[str, ...], steps: list[float]) -> None:
    assert polarities(labels) == dict(zip(labels, steps, strict=True))


@pytest.mark.parametrize("labels", [("Sports", "Politics"), ("Positive", "Other"), ("Neutral", "Flat"), ("1", "0")])
def test_other_classes_point_nowhere(labels: tuple[str, ...]) -> None:
    assert polarities(labels) is None


def test_order_and_sign() -> None:
    labels = ("Bearish", "Bullish", "Neutral")
    assert from_low_to_high(labels, polarities(labels) or {}) == ["Bearish", "Neutral", "Bullish"]
    assert [sign(x) for x in (-0.5, 0, 2)] == [-1, 0, 1]
