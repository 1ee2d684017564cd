"""Predictions of made-up systems, drawn from a seed."""

from typing import Any

import numpy as np

LABELS = ("Negative", "Neutral", "Positive")
SKILL = {"tuned": 0.75, "untuned": 0.45, "tfidf": 0.65}


def make_predictions(
    n: int = 300,
    *,
    labels: tuple[str, ...] = LABELS,
    seed: int = 0,
    skill: dict[str, float] | None = None,
    unparsed: float = 0.02,
    group_size: int = 1,
    text: str = "a tweet about bitcoin",
) -> list[dict[str, Any]]:
    """Rows of ``predictions.jsonl``; ``skill`` is each system's chance to be right, beyond luck."""
    rng = np.random.default_rng(seed)
    skill = SKILL if skill is None else skill
    weights = np.arange(len(labels), 2 * len(labels), dtype=float)
    y = rng.choice(len(labels), size=n, p=weights / weights.sum())
    rows: list[dict[str, Any]] = []
    for i in range(n):
        label = labels[y[i]]
        systems: dict[str, Any] = {}
        for name, chance in skill.items():
            answer = label if rng.random() < chance else str(rng.choice(labels))
            scores = {c: float(np.log(0.04 + 0.01 * rng.random())) for c in labels}
            scores[answer] = float(np.log(0.4 + 0.2 * rng.random()))
            if name in ("tuned", "untuned"):
                lost = rng.random() < (unparsed if name == "tuned" else 0.8)
                systems[name] = {
                    "completion": "I think that" if lost else answer,
                    "generate": None if lost else answer,
                    "loglikelihood": answer,
                    "log_likelihoods": scores,
                }
            else:
                systems[name] = {"predicted": answer, "probabilities": {c: 1 / len(labels) for c in labels}}
        systems["majority"] = {"predicted": labels[-1]}
        rows.append(
            {"id": str(i), "group": i // group_size, "input": f"{text} {i}", "label": label, "systems": systems}
        )
    return rows
