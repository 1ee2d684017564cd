"""The command ``python -m pipeline.evaluate``: from a run to a page that says what it is worth."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NoReturn

from pipeline import cli
from pipeline.artifacts import PreparedDataset, Report, Run, refuse_existing
from pipeline.errors import PipelineError
from pipeline.reporting import write_report
from pipeline.systems import answers_of_files, answers_of_report, answers_of_run
from pipeline.traces import keep_calibration, note_look

log = logging.getLogger("pipeline.evaluate")


_SECTIONS = {
    "rescore": "Without a model",
    "require": "For scripts",
    "behaviour": "What else is in the report",
    "precision": "How to compute",
}


@dataclass(frozen=True)
class EvaluateConfig:
    """What to evaluate."""

    out: str
    """Folder to write, such as reports/btc; it must not exist yet."""
    run: str | None = None
    """Folder written by pipeline.train."""
    dataset: str | None = None
    """Prepared folder: of the run, if it was moved since; without a run, that of the files given by --against."""
    rescore: str | None = None
    """Report folder whose predictions are scored again; needs no model and no --run."""
    against: list[str] = field(default_factory=list)
    """Files with the answers of other systems for the same test rows, as FILE or NAME=FILE: an answer a line, or a
    table with the columns id and prediction. Without --run, the first is what is judged."""
    answer_labels: str | None = None
    """What the answers in these files mean, such as 0=Negative,1=Neutral,2=Positive, if they are no class names."""
    require: list[str] = field(default_factory=list)
    """Bounds that the numbers must keep, such as "macro_f1.low >= 0.6" or "recall.Negative.low >= 0.4"; else the exit
    code is 1. The report is written in any case."""
    behaviour: Literal["auto", "none", "quick", "full"] = "auto"
    """Tests of behaviour on tweets made for the purpose (negation, slang, typos, injections): 400 texts more to decode,
    or 1,700; auto is quick for the classes Negative, Neutral and Positive, else none."""
    few_shot: int = 2
    """Training tweets of each class that the untuned model is shown in its prompt, as one more baseline; 0 for none."""
    embeddings: str = "base"
    """Frozen embeddings under a logistic regression, as one more baseline: base for those of the run's base model, a
    folder or hub id of a sentence encoder, or none."""
    priors: str | None = None
    """Shares of the classes to score "what if" for, such as Negative=0.3,Neutral=0.4,Positive=0.3."""
    hide_text: bool = False
    """Write no tweet into the report folder, so that it can be published where the data may not be."""
    precision: Literal["auto", "bf16", "fp32", "int8", "nf4"] = "auto"
    """Numbers to decode in; auto is that of the run, but fp32 instead of bf16 on a CPU."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute; auto takes a GPU if there is one."""
    seed: int | None = None
    """Seed of the resampling; 0, or with --rescore that of the report, if not given."""


def evaluate(config: EvaluateConfig) -> Path:
    """Scores a run on its test split, beside baselines, and says how sure one can be.

    Every test tweet is decoded by the tuned model and by the untuned one, each in two readings: what it writes, and
    which label it finds most likely. The untuned model with examples in its prompt, a classifier on its embeddings, a
    TF-IDF classifier, two word lists, the majority class, and the systems given by --against answer the same tweets.
    Writes a folder with report.html (one page, opens offline), metrics.json, predictions.jsonl, manifest.json and, of
    a run, README.md (a model card). The run's folder gets calibration.json (temperature, threshold and offsets), the
    prepared one a line in evaluations.jsonl, a count of the looks at its test rows.
    """
    _check(config)
    out = refuse_existing(config.out)
    from pipeline.scoring import gates

    requirements = gates.parse(config.require)
    if requirements:
        gates.check(requirements, _labels(config))
    priors = _priors(config)
    if config.rescore is not None:
        answers = answers_of_report(config)
    else:
        answers = answers_of_files(config) if config.run is None else answers_of_run(config)
    seed = answers.lineage["seed"] if config.seed is None else config.seed
    metrics = write_report(
        answers,
        out,
        seed=seed,
        priors=priors or answers.lineage["priors"],
        hide_text=config.hide_text,
        required=config.require,
    )
    if config.rescore is None or config.against:
        note_look(answers.lineage, out)
    if config.run is not None:
        keep_calibration(Run.load(config.run), metrics, out)
    unmet = [line for each in requirements if (line := each.unmet(metrics)) is not None]
    for line in unmet:
        log.error("not met: %s", line)
    if unmet:
        raise PipelineError(f"{len(unmet)} of {len(requirements)} requirements are not met; the report is in {out}")
    return out


def _check(config: EvaluateConfig) -> None:
    if config.run is not None and config.rescore is not None:
        raise PipelineError("--run, --rescore: expected one of them, the run to evaluate or the report to score again")
    if config.dataset is not None and config.rescore is not None:
        raise PipelineError("--dataset, --rescore: expected one of them; a report knows its data set")
    if config.run is None and config.rescore is None and not (config.dataset and config.against):
        raise PipelineError(
            "--run: expected the run to evaluate; or --rescore with a report, or --dataset and --against with the "
            "answers of another system"
        )
    if config.few_shot < 0:
        raise PipelineError(f"--few_shot: expected 0 or more, got {config.few_shot}")
    if config.seed is not None and config.seed < 0:
        raise PipelineError(f"--seed: expected 0 or more, got {config.seed}")


def _priors(config: EvaluateConfig) -> dict[str, float] | None:
    """Shares of the classes as the option gives them."""
    if config.priors is None:
        return None
    from pipeline.scoring.priors import check_priors

    shares = {}
    for pair in config.priors.split(","):
        label, _, share = pair.rpartition("=")
        try:
            shares[label.strip()] = float(share)
        except ValueError:
            raise PipelineError(
                f"--priors: expected CLASS=SHARE pairs divided by commas, such as Negative=0.3; got {pair!r}"
            ) from None
    return check_priors(shares, _labels(config))


def _labels(config: EvaluateConfig) -> tuple[str, ...]:
    """The classes of what is to be scored, before it is."""
    origin = next(
        kind.load(folder)
        for kind, folder in ((Report, config.rescore), (Run, config.run), (PreparedDataset, config.dataset))
        if folder is not None
    )
    return origin.task.labels


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Runs the command line; exits with its code."""
    cli.run(
        EvaluateConfig,
        evaluate,
        argv,
        name="python -m pipeline.evaluate",
        example="python -m pipeline.evaluate --run data/runs/btc --out reports/btc",
        sections=_SECTIONS,
    )


if __name__ == "__main__":
    main()
