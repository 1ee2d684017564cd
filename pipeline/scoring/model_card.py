"""The card of an evaluated run: a README that people read, with a head that the Hugging Face hub reads."""

from collections.abc import Mapping
from typing import Any

import yaml

from pipeline.scoring.data_card import inline, table_of
from pipeline.scoring.page import alarm_name
from pipeline.scoring.verdict import at_start

_METRICS = {
    "macro_f1": ("f1", "Macro-F1"),
    "accuracy": ("accuracy", "Accuracy"),
    "balanced_accuracy": ("recall", "Balanced accuracy (macro-recall)"),
    "mcc": ("matthews_correlation", "MCC"),
}
LIMITS_UNSCORED = """## Limits

- Other times, topics and people may be harder than the test tweets.
- This card knows of no licence for the adapter; that of the base model and the rights in the tweets go on."""
LIMITS = LIMITS_UNSCORED.replace(
    "\n\n",
    """

- One training run was scored; another seed would give other numbers. The intervals cover the luck of
  the test tweets.
""",
)


def render_model_card(
    metrics: Mapping[str, Any], *, title: str, run: Mapping[str, Any], data: Mapping[str, Any]
) -> str:
    """``README.md`` for the adapter of a run, from the numbers of its report.

    The head is the metadata of a model card with a model index; 95 % intervals stand in its ``args``.

    Args:
        metrics: what ``score`` made of the run's answers.
        title: of the report.
        run: the run's manifest.
        data: the prepared data set's manifest.
    """
    base = run["base_model"]["name"]
    head = {
        **({"base_model": base} if "/" in base else {}),  # the hub takes it for the id of a model there
        "library_name": "peft",
        "tags": ["lora", "sentiment-analysis"],
        "model-index": model_index(metrics, title, data),
    }
    return "\n\n".join([head_of(head), f"# {inline(title)}", alarms_of(data), *worth_of(metrics), LIMITS]) + "\n"


def head_of(head: Mapping[str, Any]) -> str:
    """The metadata as they stand above a card."""
    return f"---\n{yaml.safe_dump(dict(head), sort_keys=False, allow_unicode=True, width=float('inf'))}---"


def alarms_of(data: Mapping[str, Any]) -> str:
    """The section that comes first: what is wrong with the data."""
    alarms = [f"- **{inline(alarm_name(a['kind']))}.** {inline(a['text'], 1000)}" for a in data.get("alarms") or []]
    return "## Before you trust a score\n\n" + ("\n".join(alarms) or "No check of the data raised an alarm.")


def worth_of(metrics: Mapping[str, Any]) -> list[str]:
    """Verdict and scores of every system."""
    rows = [
        (inline(at_start(name)), *(_estimate(scores[metric]) for metric in _METRICS))
        for name, scores in metrics["systems"].items()
    ]
    return [
        "## What it is worth\n\n" + "\n".join(f"- {inline(sentence, 1000)}" for sentence in metrics["verdict"]),
        f"On {metrics['rows']['n']:,} test tweets, with 95 % intervals:\n\n"
        + table_of(("system", *(heading for _, heading in _METRICS.values())), rows),
    ]


def model_index(metrics: Mapping[str, Any], title: str, data: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The candidate's scores in the form that the Hugging Face hub shows beside a model."""
    scores = metrics["systems"][metrics["candidate"]]
    name = " ".join(title.split())
    results = [
        {
            "type": kind,
            "name": heading,
            "value": round(scores[metric]["value"], 4),
            "args": {"interval": [round(scores[metric]["low"], 4), round(scores[metric]["high"], 4)], "level": 0.95},
        }
        for metric, (kind, heading) in _METRICS.items()
    ]
    files = [
        str(file["path"]).replace("\\", "/").rsplit("/", 1)[-1] for file in data.get("source", {}).get("files", [])
    ]
    return [
        {
            "name": name,
            "results": [
                {
                    "task": {"type": "text-classification"},
                    "dataset": {"name": ", ".join(files) or "test tweets", "type": "tweets", "split": "test"},
                    "metrics": results,
                }
            ],
        }
    ]


def _estimate(score: Mapping[str, float]) -> str:
    return f"{score['value']:.3f} [{score['low']:.3f}, {score['high']:.3f}]".replace("-", "−")
