"""What ``pipeline.train`` says in a line each: what it came to, and what could have gone better."""

import logging
from collections import Counter
from collections.abc import Sequence

from pipeline.artifacts import TRAINING_LOG, Row, Run, read_jsonl

log = logging.getLogger("pipeline.train")


def warn_of_language(base_model: str, texts: Sequence[str]) -> None:
    """Says it where the embedded model is to be tuned on texts that are surely in a language that it hardly knows."""
    from pipeline.model.base import EMBEDDED

    if base_model not in EMBEDDED:
        return
    from pipeline.dataset.languages import main_language, name_of_language

    language = main_language(texts)
    if language not in ("", "en"):
        log.warning(
            "the texts seem to be %s; the embedded model knows English for the most part: --base_model takes a "
            "multilingual one, a folder or a hub id",
            name_of_language(language),
        )


def tell_outcome(run: Run, validation: Sequence[Row], *, selected_by: str) -> None:
    """Says what a finished training came to, and what whoever looks at nothing else has to know."""
    from pipeline.scoring.training_curves import training_curves
    from pipeline.scoring.training_sentence import MANY_UNPARSED, warnings

    result = run.manifest["result"]
    log.info(
        "trained %d steps in %.0f s (%.1f tweets/s), with validation %.0f s; kept step %d, %s %.3f on validation; "
        "reloaded and the same",
        result["steps"], result["training_seconds"], result["tweets_per_second"], result["seconds"],
        result["best_step"], selected_by, result["best_score"],
    )  # fmt: skip
    if result["shortened"]:
        log.info("%d training tweets were cut to fit max_length %d", result["shortened"], run.manifest["max_length"])
    if result["unparsed_rate"] > MANY_UNPARSED:
        log.warning(
            "%.0f %% of its answers on validation are no label: it has not learnt the task; train longer (--epochs, "
            "--max_steps) or with more tweets",
            100 * result["unparsed_rate"],
        )
    counts = Counter(row.output for row in validation)
    lines = read_jsonl(run.folder / TRAINING_LOG)
    found = training_curves(lines, run.manifest, labels=run.task.labels, counts=counts)
    for line in warnings(found, counts) if found else ():
        log.warning("%s", line)
