"""The command ``python -m pipeline.train``: from a prepared data set to a tuned adapter that was checked."""

import contextlib
import dataclasses
import importlib.metadata
import logging
import math
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn

import yaml

from pipeline import cli
from pipeline.artifacts import MANIFEST, PreparedDataset, Row, Run, refuse_existing, write_manifest, write_text
from pipeline.errors import BusyError, PipelineError, StoppedError
from pipeline.locking import LOCK, Lock
from pipeline.task import Task

if TYPE_CHECKING:
    from pipeline.model.base import BaseModel
    from pipeline.model.checkpoints import Checkpoint
    from pipeline.model.encoding import Encoder
    from pipeline.model.loading import Placement

log = logging.getLogger("pipeline.train")

CONFIG = "config.yaml"
CHECKPOINTS = "checkpoints"

_MANY_UNPARSED = 0.1
# Options that do not decide the result, or that lead to something that does, see _fingerprint.
_ELSEWHERE = frozenset({"dataset", "out", "resume", "checkpoint_steps", "base_model", "precision", "device"})


@dataclass(frozen=True)
class LoraConfig:
    """The adapter. The defaults are those of the Alpaca-LoRA tutorial; presets change them."""

    r: int = 8
    """Rank of the update matrices."""
    alpha: int = 16
    """Scaling: the update counts alpha / r times."""
    dropout: float = 0.05
    """Share of the adapter's inputs dropped in training, 0 to 1."""
    target_modules: list[str] = field(default_factory=lambda: ["q_proj", "v_proj"])
    """Linear layers that get an adapter, by the last part of their name, or [all-linear]."""


@dataclass(frozen=True)
class TrainConfig:
    """What to tune, on what, and how."""

    dataset: str
    """Folder written by pipeline.prepare."""
    out: str
    """Folder to write, such as data/runs/btc; without --resume it must not exist yet."""
    base_model: str = "smollm2-135m"
    """smollm2-135m (comes with the project), a model folder, a .gguf file, or a hub id."""
    precision: Literal["auto", "bf16", "fp32", "int8", "nf4"] = "auto"
    """Numbers that hold the frozen weights; int8 and nf4 are bitsandbytes' 8 and 4 bit."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute; auto takes a GPU if there is one."""
    max_length: int = 256
    """Longest prompt with its completion, in tokens; a longer tweet is cut at its end, a completion never."""
    lora: LoraConfig = field(default_factory=LoraConfig)
    """The adapter."""
    batch_size: int = 128
    """Tweets per optimizer step."""
    micro_batch_size: int = 4
    """Tweets per forward pass; batch_size is a multiple of it. Lower it when memory runs out."""
    epochs: float = 3.0
    """Passes over the training tweets."""
    max_steps: int | None = None
    """Optimizer steps at most, however many epochs; null for no limit."""
    learning_rate: float = 3e-4
    """Highest learning rate of AdamW; it rises over the warm-up and then falls linearly to 0."""
    warmup: float = 0.05
    """Share of the steps over which the learning rate rises, 0 to 1."""
    evaluations: int = 6
    """How often the validation split is decoded; the best of these moments is kept."""
    seed: int = 42
    """Seed of the adapter's start and of the order of the tweets."""
    checkpoint_steps: int = 25
    """Optimizer steps between two checkpoints; there is one after each validation too."""
    resume: bool = False
    """Go on with the run in --out that was stopped or killed; where there is none, begin it."""


def train(config: TrainConfig) -> Path:
    """Tunes a language model into a classifier of tweets.

    Trains a LoRA adapter to complete the prompt with the label. Several times on the way the validation split is
    decoded, and the adapter with the best macro-F1 is kept. It is then loaded again onto a fresh base model and must
    predict the same. Writes a folder with adapter/, config.yaml, training.jsonl, tensorboard/ and manifest.json.
    It can be stopped or killed at any moment; with --resume it goes on from its last checkpoint.
    """
    _check(config)
    out = Path(config.out)
    if config.resume and os.path.exists(out / MANIFEST):  # noqa: PTH110 - no error where the name cannot be
        return _finished(config)
    dataset = PreparedDataset.load(config.dataset)
    train_rows, val_rows = dataset.rows("train"), dataset.rows("val")
    if not train_rows or not val_rows:
        raise PipelineError(f"{config.dataset}: expected rows in train.json and val.json; prepare it with more tweets")
    with Lock(out) as lock:
        _claim(config, lock)

        log.info("loading PyTorch and transformers")
        from pipeline.model.base import check_base_model, resolve_base_model
        from pipeline.model.checkpoints import newest, refuse_changes
        from pipeline.model.encoding import Encoder
        from pipeline.model.loading import load_tokenizer, place

        check_base_model(config.base_model)
        placement = place(config.precision, config.device)
        base = resolve_base_model(config.base_model)
        encoder = Encoder(load_tokenizer(base), dataset.task, config.max_length)
        out.mkdir(parents=True, exist_ok=True)
        lock.take()
        # Another run may have been faster, and is gone again.
        if config.resume and (out / MANIFEST).exists():
            return _finished(config)
        if not config.resume and (out / CONFIG).exists():
            refuse_existing(out, resumable=True)
        fingerprint = _fingerprint(config, dataset, base, placement)
        checkpoint = newest(out) if config.resume else None
        if checkpoint is not None:
            refuse_changes(checkpoint, fingerprint)
        write_text(out / CONFIG, yaml.safe_dump(_options(config), sort_keys=False))
        log.info(
            "tuning %s in %s on %s: %d tweets, %d for validation, %d classes",
            base.name, placement.precision, placement.device, len(train_rows), len(val_rows), len(dataset.task.labels),
        )  # fmt: skip
        try:
            _tune(config, dataset, base, placement, encoder, (train_rows, val_rows), fingerprint, checkpoint)
        except KeyboardInterrupt as error:  # while nothing is trained, but loaded or checked
            raise StoppedError(f"{out}: stopped; go on with the same command and --resume") from error
        _tidy(out, lock)  # only now: without checkpoints a run that is killed at this moment would have to begin again
    return out


def _claim(config: TrainConfig, lock: Lock) -> None:
    """Takes the lock of a folder that is there already, before anything slow is done.

    Raises:
        BusyError: another process trains into it.
        PipelineError: it is not to be written to.
    """
    out = Path(config.out)
    # As os.path has it, which is no error where the name cannot be: refuse_existing says so.
    goes_on = config.resume and os.path.isdir(out)  # noqa: PTH112
    if goes_on and not (out / CONFIG).exists() and any(not path.name.startswith(".") for path in out.iterdir()):
        raise PipelineError(
            f"{out}: expected a run that was stopped, got a folder without {CONFIG}; choose another --out"
        )
    if goes_on or os.path.exists(out / LOCK):  # noqa: PTH110
        lock.take()
    if not goes_on:
        refuse_existing(out, resumable=True)


def _finished(config: TrainConfig) -> Path:
    """A run that needs no going on."""
    run = Run.load(config.out)
    before, now = run.manifest.get("config", {}), _options(config)
    changed = [name for name in now if name in before and name not in _ELSEWHERE and before[name] != now[name]]
    if changed:
        log.warning(
            "%s: was made with another %s; to change that, choose another --out", run.folder, ", ".join(changed)
        )
    log.info("%s: is finished already", run.folder)
    if (run.folder / CHECKPOINTS).exists() or (run.folder / LOCK).exists():  # killed when it had just finished
        with Lock(run.folder) as lock, contextlib.suppress(BusyError):
            lock.take()
            _tidy(run.folder, lock)
    return run.folder


def _tidy(out: Path, lock: Lock) -> None:
    """Removes what a finished run has no more need of, the checkpoints that were set aside among it."""
    shutil.rmtree(out / CHECKPOINTS, ignore_errors=True)
    lock.remove()


def _options(config: TrainConfig) -> dict[str, Any]:
    """The options as they are kept; how often a run was interrupted is no part of it."""
    return dataclasses.asdict(dataclasses.replace(config, resume=False))


def _fingerprint(
    config: TrainConfig, dataset: PreparedDataset, base: "BaseModel", placement: "Placement"
) -> dict[str, object]:
    """What decides the result of a training, by name: it can be gone on with only while all of it is the same.

    Paths do not count but what they lead to, nor ``auto`` but what it came to. The number of processes is that of
    torchrun.
    """
    options = {name: value for name, value in _options(config).items() if name not in _ELSEWHERE}
    lora = options.pop("lora")
    return {
        **options,
        **{f"lora.{name}": value for name, value in lora.items()},
        "dataset": dataset.sha256,
        "base_model": base.fingerprint,
        "precision": placement.precision,
        "dtype": str(placement.dtype).removeprefix("torch."),
        "device": placement.device,
        "processes": int(os.environ.get("WORLD_SIZE", "1")),
        **{package: importlib.metadata.version(package) for package in ("torch", "transformers", "peft")},
    }


def _tune(
    config: TrainConfig,
    dataset: PreparedDataset,
    base: "BaseModel",
    placement: "Placement",
    encoder: "Encoder",
    rows: tuple[list[Row], list[Row]],
    fingerprint: dict[str, object],
    checkpoint: "Checkpoint | None",
) -> None:
    """Trains and finishes the folder."""
    from pipeline.model.adapter import LoraSettings
    from pipeline.model.training import TrainingSettings, tune

    out, task = Path(config.out), dataset.task
    options = {f.name for f in dataclasses.fields(config)}
    result = tune(
        base,
        placement,
        encoder,
        *rows,
        lora=LoraSettings(config.lora.r, config.lora.alpha, config.lora.dropout, tuple(config.lora.target_modules)),
        settings=TrainingSettings(
            **{f.name: getattr(config, f.name) for f in dataclasses.fields(TrainingSettings) if f.name in options},
        ),
        score=_validation_score(task),
        folder=out,
        fingerprint=fingerprint,
        resumed=checkpoint,
    )
    content = {
        "parents": {"dataset": {"path": str(config.dataset), "sha256": dataset.sha256}},
        "base_model": dataclasses.asdict(base),
        "precision": placement.precision,
        "dtype": str(placement.dtype).removeprefix("torch."),
        "device": placement.device,
        "max_length": config.max_length,
        "config": _options(config),
        "result": dataclasses.asdict(result),
    }
    write_manifest(out, "run", task, content, skip=("tensorboard", CHECKPOINTS, LOCK))
    log.info(
        "trained %d steps in %.0f s (%.1f tweets/s); kept step %d, macro-F1 %.3f on validation; reloaded and the same",
        result.steps, result.seconds, result.tweets_per_second, result.best_step, result.best_score,
    )  # fmt: skip
    if result.unparsed_rate > _MANY_UNPARSED:
        log.warning(
            "%.0f %% of its answers on validation are no label: it has not learnt the task; train longer (--epochs, "
            "--max_steps) or with more tweets",
            100 * result.unparsed_rate,
        )
    if result.shortened:
        log.info("%d training tweets were cut to fit max_length %d", result.shortened, config.max_length)


def _check(config: TrainConfig) -> None:
    """Finds impossible numbers before anything is loaded."""
    positive = {
        name: getattr(config, name)
        for name in (
            *("batch_size", "micro_batch_size", "epochs", "learning_rate", "evaluations", "max_length"),
            "checkpoint_steps",
        )
    }
    positive |= {"lora.r": config.lora.r, "lora.alpha": config.lora.alpha}
    if config.max_steps is not None:
        positive["max_steps"] = config.max_steps
    for name, value in positive.items():
        if not (math.isfinite(value) and value > 0):
            raise PipelineError(f"--{name}: expected a number above 0, got {value}")
    for name, share in (("warmup", config.warmup), ("lora.dropout", config.lora.dropout)):
        if not 0 <= share < 1:
            raise PipelineError(f"--{name}: expected a share from 0 up to but not 1, got {share}")
    if config.batch_size % config.micro_batch_size:
        raise PipelineError(
            f"--batch_size {config.batch_size}: expected a multiple of micro_batch_size, which is "
            f"{config.micro_batch_size}"
        )
    if not 0 <= config.seed < 2**32:
        raise PipelineError(f"--seed: expected a number from 0 to {2**32 - 1}, got {config.seed}")
    if not config.lora.target_modules:
        raise PipelineError("--lora.target_modules: expected at least one name, or all-linear, got none")


def _validation_score(task: Task) -> Callable[[Sequence[str], Sequence[str | None]], dict[str, float]]:
    """Metrics of decoded labels; the first chooses the checkpoint, the others tell how it goes."""
    from pipeline.scoring.confusion import confusion
    from pipeline.scoring.metrics import balanced_accuracy, macro_f1, unparsed_rate

    def score(y_true: Sequence[str], y_pred: Sequence[str | None]) -> dict[str, float]:
        matrix = confusion(y_true, y_pred, labels=task.labels)
        metrics = {"macro_f1": macro_f1, "balanced_accuracy": balanced_accuracy, "unparsed_rate": unparsed_rate}
        return {name: float(metric(matrix)) for name, metric in metrics.items()}

    return score


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Runs the command line; exits with its code."""
    cli.run(
        TrainConfig,
        train,
        argv,
        name="python -m pipeline.train",
        example="python -m pipeline.train --dataset data/prepared/btc --out data/runs/btc",
        preset="cpu",
    )


if __name__ == "__main__":
    main()
