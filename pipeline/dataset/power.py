"""What the numbers of rows allow, before any training: what imbalance costs, and what the test can tell."""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from scipy.stats import norm

from pipeline.dataset.records import Example

# Shares of test rows that one of two systems gets right and the other wrong: alike, usual, very different systems.
DISAGREEMENT = (0.1, 0.2, 0.3)


def describe_imbalance(counts: Mapping[str, int], batch_size: int) -> dict[str, Any]:
    """Shares of the classes, and what the remedies that ``pipeline.train`` has do to an epoch.

    Weights that make classes count the same leave the rows as they are, but the rows of large classes add little: the
    sum of weighted rows varies as much as that of ``(sum of weights)^2 / (sum of squared weights)`` equal ones (Kish,
    Survey Sampling, 1965, section 11.7), here the number of classes times the harmonic mean of their sizes. Sampling
    that makes classes equally frequent sees as many rows as there are, those of small classes again and again.

    Args:
        counts: class -> training rows, one at least.
        batch_size: rows of an optimizer step.
    """
    rows, (smallest, fewest), most = sum(counts.values()), min(counts.items(), key=lambda c: c[1]), max(counts.values())
    ratio = most / fewest
    equal = len(counts) ** 2 / sum(1 / n for n in counts.values())
    even = rows / len(counts)

    def lever(name: str, rows_per_epoch: int, note: str) -> dict[str, object]:
        steps = math.ceil(rows_per_epoch / batch_size)
        return {"lever": name, "rows_per_epoch": rows_per_epoch, "steps_per_epoch": steps, "note": note}

    return {
        "class_shares": {label: n / rows for label, n in counts.items()},
        "ratio": ratio,
        "batch_size": batch_size,
        "effective": [
            lever("none", rows, f"{100 * fewest / rows:.1f} % of what the model sees is {smallest}"),
            lever(
                "--class_weights balanced",
                rows,
                f"a row of {smallest} counts {ratio:.1f} times as much as one of the largest class; the epoch is worth "
                f"{equal:,.0f} rows of balanced classes",
            ),
            lever(
                "--sampling balanced",
                rows,
                f"each row of {smallest} is seen {even / fewest:.1f} times an epoch, one of the largest class "
                f"{even / most:.1f} times",
            ),
        ],
    }


def describe_power(
    test: Sequence[Example],
    groups: Mapping[str, int],
    labels: Sequence[str],
    smallest_detectable: Callable[[int, float], float | None],
) -> dict[str, Any]:
    """What the test split can tell. Copies tell nothing twice: rows of one group count once.

    Args:
        test: the rows.
        groups: example id -> number of its group of duplicates.
        labels: the classes.
        smallest_detectable: from a number of independent rows and the share of them that exactly one of two systems
            gets right to the smallest difference of accuracies that a paired test finds, None for no difference.
    """
    independent = len({groups[example.id] for example in test})
    support = Counter(example.label for example in test)
    of_class = Counter(label for label, _ in {(example.label, groups[example.id]) for example in test})
    return {
        "test_rows": len(test),
        "groups": independent,
        "smallest_difference_accuracy": {str(rate): smallest_detectable(independent, rate) for rate in DISAGREEMENT},
        "per_class": {
            label: {
                "support": support[label],
                "groups": of_class[label],
                "recall_half_width": half_width(of_class[label]),
            }
            for label in labels
        },
    }


def half_width(n: int) -> float:
    """Half of the 95 % interval (Wilson 1927) of a proportion of 0.5 among ``n``, where it is widest.

    ``z sqrt(p (1 - p) / n + z^2 / 4 n^2) / (1 + z^2 / n)`` with p = 1/2; also right for n = 0, when nothing is known.
    """
    z = float(norm.ppf(0.975))
    return z / (2 * math.sqrt(n + z * z))
