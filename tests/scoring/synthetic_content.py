"""The manifest content of a made-up prepared data set, and the rows that its page shows; drawn from a seed."""

from datetime import datetime, timedelta
from typing import Any

import numpy as np

from pipeline.scoring.data_sections import DataContext

LABELS = ("Negative", "Neutral", "Positive")
TOPICS = (
    "Ethereum Gas_fees Mining Regulation Exchange Wallets Scams NFTs Memes Macro Halving ETFs DeFi Stablecoins Taxes "
    "Lightning Adoption Hacks Energy Other"
)
SENTENCES = (
    "holding through the dip again, my hands are made of paper and hope",
    "the chart looks like my heart rate after the third espresso",
    "fees are so low today that I moved one coin twice just to feel something",
    "nobody talks about the weekend volume and it shows",
    "sold everything this morning, ask me tomorrow how I feel",
    "a calm day for once; the candles are green and so are the hills",
)


def make_content(labels: tuple[str, ...] = LABELS, *, read: int = 41_897, seed: int = 0) -> dict[str, Any]:
    """Every key that a prepared manifest may have; the counts add up."""
    rng = np.random.default_rng(seed)
    k = len(labels)
    dropped = {
        "empty text": 12,
        "retweet": read // 9,
        "link": read // 14,
        "conflicting label": 57,
        "duplicate": read // 5,
    }
    rejected = {"row has 3 cells, expected 5": 21, "not a text": 4}
    kept = read - sum(dropped.values()) - sum(rejected.values())
    weights = np.sort(rng.dirichlet(np.full(k, 2.0)))
    totals = rng.multinomial(kept, weights)
    test, val = (totals * 0.25).astype(int), (totals * 0.1).astype(int)
    parts = {"train": totals - test - val, "val": val, "test": test}
    classes = {split: {label: int(n) for label, n in zip(labels, row, strict=True)} for split, row in parts.items()}
    shares = {label: float(n / kept) for label, n in zip(labels, totals, strict=True)}
    n_test, n_train = int(test.sum()), int(parts["train"].sum())
    campaigns = []
    for i, size in enumerate((2214, 640, 85, 31, 12, 9, 7, 4)):
        main = int(size * 0.97)
        counts = dict.fromkeys(labels, 0) | {labels[-1]: main, labels[0]: size - main}
        campaigns.append(
            {
                "group": 3 + 5 * i,
                "size": size,
                "share_of_rows": size / read,
                "label_counts": counts,
                "class_shares": {label: n / max(1, read * shares[label]) for label, n in counts.items()},
                "text": f"GIVEAWAY {i}: follow @user{i}, retweet and win {100 * (i + 1)} $COIN today!!!",
            }
        )
    characters = rng.normal(110, 45, kept).clip(3, 290).astype(int)
    tokens = (characters / 3.1).astype(int) + 1
    start = datetime(2024, 1, 29)
    days = np.sort(rng.choice(84, 60, replace=False))
    drift = np.outer(np.linspace(1, 2, len(days)), rng.dirichlet(np.full(k, 3.0)))
    return {
        "source": {
            "files": [
                {
                    "path": "data/raw/march_tweets.csv", "sha256": "5c40" * 16, "rows": read - 900, "kind": "csv",
                    "encoding": "cp1252", "delimiter": ";", "quoting": '"', "line_ends": "CRLF", "header": True,
                    "title_rows": 2, "compression": None, "label": None,
                },
                {
                    "path": "data/raw/april_tweets.jsonl.gz", "sha256": "9f1e" * 16, "rows": 900, "kind": "jsonl",
                    "encoding": "utf-8", "delimiter": None, "quoting": None, "line_ends": "LF", "header": None,
                    "title_rows": None, "compression": "gzip", "label": None,
                },
            ],
            "columns": {"text": "tweet", "label": "sentiment", "date": "created_at"},
        },
        "options": {"drop_retweets": True, "val": 0.1, "test": 0.25, "seed": 42, "against": "benchmark_test.csv"},
        "dates": {"first": "2024-01-29T00:48:26+00:00", "last": "2024-04-21T23:19:42+00:00", "unread": 0},
        "rows": {"read": read, "rejected": sum(rejected.values()), "kept": kept, "dropped": dropped},
        "rejected": {"share": sum(rejected.values()) / read, "reasons": rejected},
        "classes": classes,
        "duplicates": {
            "usable_rows": kept + dropped["duplicate"] + dropped["conflicting label"],
            "templates": kept + 310,
            "groups": kept - 410,
            "rows_in_groups_of_two_or_more": dropped["duplicate"] + 2044,
            "conflicting": dropped["conflicting label"],
            "policy": "one",
            "conflicts_policy": "majority",
            "campaigns": campaigns,
            "class_shares_in_copies": {label: float(x) for label, x in zip(labels, rng.beta(1, 3, k), strict=True)},
        },
        "leakage": {
            "made": {"test_rows": n_test, "exact": 0.0, "template": 0.0, "near": 0.0},
            "official_split": {"test_rows": 4000, "exact": 0.0512, "template": 0.0731, "near": 0.1124},
            "random_split": {"test_rows": n_test + 31, "exact": 0.2174, "template": 0.3016, "near": 0.4123},
            "against_train": {"test_rows": n_train, "exact": 0.0301, "template": 0.0422, "near": 0.0533},
            "against": {"test_rows": n_test, "exact": 0.0011, "template": 0.0025, "near": 0.0046},
        },
        "splits": {
            "by": "time", "column": None, "folds": None,
            "boundaries": {"val": "2024-03-25T04:00:00", "test": "2024-04-01T12:00:00"},
            "later_copies": {"train": 17, "val": 3},
        },
        "lengths": {
            "characters": _length(characters, 10),
            "tokens": {
                "tokenizer": "smollm2-135m", **_length(tokens, 4), "limit": 64,
                "shortened": int((tokens > 64).sum()),
            },
        },
        "timeline": {
            "unit": "day",
            "bins": [
                [
                    (start + timedelta(days=int(day))).isoformat(),
                    {label: int(n) for label, n in zip(labels, rng.poisson(300 * rate), strict=True)},
                ]
                for day, rate in zip(days, drift, strict=True)
            ],
        },
        "imbalance": {
            "class_shares": shares,
            "ratio": float(totals.max() / totals.min()),
            "batch_size": 16,
            "effective": [
                {"lever": "none", "rows_per_epoch": n_train, "steps_per_epoch": -(-n_train // 16), "note": "as it is"},
                {
                    "lever": "weights", "rows_per_epoch": n_train, "steps_per_epoch": -(-n_train // 16),
                    "note": "no more steps; a row of the smallest class weighs more",
                },
                {
                    "lever": "oversampling", "rows_per_epoch": int(k * parts["train"].max()),
                    "steps_per_epoch": -(-int(k * parts["train"].max()) // 16),
                    "note": "rows of small classes are seen again and again within an epoch",
                },
            ],
        },
        "power": {
            "test_rows": n_test,
            "groups": n_test - 12,
            "smallest_difference_accuracy": {
                f"{rate}": float(2.8 * np.sqrt(rate / n_test)) for rate in (0.05, 0.1, 0.2, 0.3)
            },
            "per_class": {
                label: {"support": int(n), "groups": int(n) - 1, "recall_half_width": float(0.98 / np.sqrt(max(1, n)))}
                for label, n in zip(labels, test, strict=True)
            },
        },
        "labels": {
            "lexicons": {
                "textblob": {"agreement": 0.9974, "low": 0.9967, "high": 0.998, "kappa": 0.9951, "n": kept},
                "vader": {"agreement": 0.6123, "low": 0.6071, "high": 0.6175, "kappa": 0.4012, "n": kept},
            },
            "learnable": {
                "metric": "macro_f1", "value": 0.8412, "chance": 0.3305, "p_value": 0.00999, "folds": 5,
                "permutations": 100, "n": 24_111, "detectable": 0.0131,
            },
            "suspects": {"n_listed": 312, "n_found": 911, "searched": 25_001, "file": "suspects.csv"},
            "overrides": {"file": "labels.csv", "sha256": "77aa" * 16, "changed": 41, "dropped": 7, "unused": 2},
            "raters": {
                "items": 4200, "ratings": 84_000, "raters_per_item": {"min": 19, "median": 20, "max": 21},
                "krippendorff_alpha": 0.6634, "low": 0.6511, "high": 0.6752, "level": "ordinal",
                "human_ceiling": {"macro_f1": 0.7719, "accuracy": 0.8021, "low": 0.7602, "high": 0.7833},
            },
        },
        "alarms": [
            {
                "kind": "machine_made",
                "text": "99.7 % of the labels are what the word list TextBlob gives: they are its output, and a score "
                "here measures how well a model imitates it.",
            },
            {
                "kind": "campaign",
                "text": f"One campaign of 2,214 near-equal tweets makes up {100 * 2214 / read:.1f} % of all rows; "
                f"97.0 % of them are {labels[-1]}.",
            },
        ],
    }  # fmt: skip


def _length(values: np.ndarray, width: int) -> dict[str, Any]:
    most = np.quantile(values, 0.99)
    edges = np.append(np.arange(0, most + 1, width), values.max() + 1)
    counts, _ = np.histogram(values, edges)
    return {
        "median": float(np.median(values)),
        "p95": float(np.percentile(values, 95).round()),
        "max": int(values.max()),
        "histogram": [[int(a), int(b), int(n)] for a, b, n in zip(edges, edges[1:], counts, strict=False)],
    }


def make_context(labels: tuple[str, ...] = LABELS, *, text: str | None = None, n: int = 30) -> DataContext:
    """Rows for the page, all with ``text`` where it is given."""

    def say(i: int) -> str:
        return text if text is not None else SENTENCES[i % len(SENTENCES)] + (f" #{i}" if i % 3 else " 🚀")

    k = len(labels)
    return {
        "title": "march_tweets and april_tweets",
        "samples": [
            {"split": ("train", "val", "test")[i % 3], "label": labels[i % k], "id": str(7 * i), "text": say(i)}
            for i in range(4 * k)
        ],
        "suspects": [
            {
                "id": str(11 * i), "label": labels[i % k], "suggested": labels[(i + 1) % k],
                "probability_of_label": 0.01 + 0.007 * i, "text": say(i),
            }
            for i in range(n)
        ],
        "conflicts": [
            {"text": say(i), "label_counts": {labels[0]: 3 + i, labels[-1]: 2}, "outcome": f"kept {labels[0]}"}
            for i in range(n // 4)
        ],
        "rejected": [
            {"file": "march_tweets.csv", "line": 40 + i, "reason": "row has 3 cells, expected 5", "content": say(i)}
            for i in range(n // 2)
        ],
    }  # fmt: skip
