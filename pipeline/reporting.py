"""The report folder, the same for an evaluation and a leaderboard: scored, rendered, written whole or not at all."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.artifacts import Report, dump_json, dump_jsonl, new_folder, write_manifest, write_text
from pipeline.systems import FURTHER, Answers
from pipeline.task import SENTIMENT_LABELS, Task

log = logging.getLogger("pipeline.evaluate")


def write_report(
    answers: Answers,
    out: Path,
    *,
    seed: int,
    priors: Mapping[str, float] | None = None,
    hide_text: bool = False,
    required: Sequence[str] = (),
) -> dict[str, Any]:
    """Writes the folder and tells its verdict.

    Args:
        answers: what to score.
        out: the folder; it must not exist yet.
        seed: of the resampling.
        priors: shares of the classes to score "what if" for.
        hide_text: leave out every word of a tweet.
        required: the bounds that were asked for, to be kept in the manifest.

    Returns:
        The content of ``metrics.json``.
    """
    from pipeline.scoring.evaluation import score
    from pipeline.scoring.model_card import render_model_card
    from pipeline.scoring.report import render
    from pipeline.scoring.sections import Evidence

    lineage = answers.lineage
    data, run = lineage["data"], lineage["run"]
    log.info("scoring %d test tweets", len(answers.predictions))
    metrics = score(
        answers.predictions,
        labels=answers.task.labels,
        seed=seed,
        candidate=lineage["candidate"],
        picked_from=lineage["picked_from"],
        ordered=_ordered(answers.task, data),
        evidence=Evidence(
            validation=answers.validation,
            behaviour=answers.behaviour,
            training=answers.training,
            suite=lineage["suite"],
            data=data,
            priors=priors,
            likelihoods=lineage["likelihoods"],
            seeds=lineage["seeds"],
            board=lineage["board"],
            levers=lineage["levers"],
            run=run or lineage["judged_run"],
            looks=lineage["looks"],
            drift=lineage["drift"],
            weak=answers.weak,
        ),
    )
    if hide_text:  # only now: the segments are found by the texts
        answers = answers.without_texts()
        lineage = answers.lineage
        data = lineage["data"]
        if lineage["drift"]:
            metrics["drift"] = lineage["drift"]
    page = render(
        metrics,
        answers.predictions,
        {
            "title": lineage["title"],
            "hidden": lineage["text_hidden"],
            "run": run,
            "data": data,
            "provenance": lineage["decoding"],
        },
    )
    with new_folder(out) as folder:
        for name in ("predictions", *FURTHER):
            if rows := getattr(answers, name):
                write_text(folder / f"{name}.jsonl", dump_jsonl(rows))
        write_text(folder / "metrics.json", dump_json(metrics))
        write_text(folder / "report.html", page)
        if run:
            write_text(folder / "README.md", render_model_card(metrics, title=lineage["title"], run=run, data=data))
        scored = {"seed": seed, "priors": priors, "required": list(required)}
        write_manifest(folder, Report.kind, answers.task, {**lineage, **scored})
    for alarm in data.get("alarms", []):
        log.warning("! %s", alarm["text"])
    for sentence in metrics["verdict"]:
        log.info("%s", sentence)
    log.info("read more in %s", out / "report.html")
    return metrics


def _ordered(task: Task, data: Mapping[str, Any]) -> bool:
    """Whether the classes go from low to high: the home classes do, and those whose order a person gave."""
    return task.labels == SENTIMENT_LABELS or data.get("options", {}).get("labels") is not None
