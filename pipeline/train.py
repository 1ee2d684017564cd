"""The command ``python -m pipeline.train``: from a prepared data set to a tuned adapter that was checked."""

import contextlib
import dataclasses
import importlib.metadata
import logging
import math
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn

import yaml

from pipeline import cli
from pipeline.artifacts import (
    CHECKPOINTS,
    MANIFEST,
    SEARCH_LOG,
    TRAINING_LOG,
    PreparedDataset,
    Row,
    Run,
    refuse_changes,
    refuse_existing,
    sha256_of,
    without_home,
    write_manifest,
    write_text,
)
from pipeline.errors import BusyError, PipelineError, StoppedError
from pipeline.families import Name, asked_as
from pipeline.locking import LOCK, Lock
from pipeline.outcome import tell_outcome, warn_of_language
from pipeline.task import Task
from pipeline.trackers import check_trackers

if TYPE_CHECKING:
    from pipeline.model.adapter import LoraSettings
    from pipeline.model.base import BaseModel
    from pipeline.model.checkpoints import Checkpoint
    from pipeline.model.encoding import Encoder
    from pipeline.model.loading import Placement
    from pipeline.model.processes import Processes
    from pipeline.model.training import TrainingSettings

log = logging.getLogger("pipeline.train")

CONFIG = "config.yaml"

_GO_ON = "go on with the same command and --resume"
# Options that do not decide the result, or that lead to something that does, see _fingerprint.
_ELSEWHERE = frozenset(
    {
        "dataset",
        "out",
        "resume",
        "checkpoint_steps",
        "base_model",
        "family",
        "precision",
        "device",
        "report_to",
        "search_share",
    }
)


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
    last_layers: int | None = None
    """Adapters in so many layers from above alone, null for all; what lies below is then computed once, not in every
    epoch."""
    variant: Literal["lora", "rslora", "dora", "pissa"] = "lora"
    """rslora scales by alpha / sqrt(r), for high ranks; dora learns size and direction apart; pissa starts from the
    weights' principal parts and needs fp32."""


_SECTIONS = {
    "max_length": "Steps and rates",
    "sampling": "Classes of unequal size",
    "select_by": "What is kept",
    "report_to": "Trackers and search",
    "seed": "Chance, and going on",
}


@dataclass(frozen=True)
class TrainConfig:
    """What to tune, on what, and how."""

    dataset: str
    """Folder written by pipeline.prepare."""
    out: str
    """Folder to write, such as data/runs/btc; it must not exist yet."""
    base_model: str = "smollm2-135m"
    """smollm2-135m (comes with the project), a model folder, a .gguf file, or a hub id."""
    family: Literal["auto", Name] = "auto"
    """How the model is asked: auto recognises it, alpaca is that of instruction JSON, chat the tokenizer's template."""
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
    b_learning_rate: float = 1.0
    """LoRA+: the learning rate of the B matrices as a multiple of that of the A matrices."""
    evaluations: int = 6
    """How often the validation split is decoded; the best of these moments is kept."""
    sampling: Literal["natural", "sqrt", "balanced"] = "natural"
    """How often a class is seen: as it comes, by the square root of its size, or as often as every other; tweets of a
    small class then come again."""
    class_weights: Literal["none", "sqrt", "balanced"] = "none"
    """What a tweet of a class weighs in the loss: the same, 1 / sqrt(its size) or 1 / its size."""
    select_by: Literal["macro_f1", "balanced_accuracy", "weighted_f1", "accuracy"] = "macro_f1"
    """Metric of the validation split that chooses the adapter to keep; balanced_accuracy is macro-recall."""
    patience: int | None = None
    """Stop after so many validations in a row that were not the best; null trains to the end."""
    report_to: list[str] = field(default_factory=list)
    """Trackers that transformers knows, such as wandb or mlflow, besides training.jsonl and TensorBoard; each has a
    package to install."""
    search: int | None = None
    """Short trainings that look for better settings before the training proper: learning rate, rank and layers of the
    adapter, class weights, sampling and b_learning_rate. At least 2, the first with the settings as given; null for
    none."""
    search_share: float = 0.25
    """Steps of a trial of the search as a share of those of the training, above 0 and up to 1."""
    seed: int = 42
    """Seed of the adapter's start, of the order of the tweets and of the search."""
    checkpoint_steps: int = 25
    """Optimizer steps between two checkpoints; there is one after each validation too."""
    resume: bool = False
    """Go on with the run in --out that was stopped or killed; where there is none, begin it."""


def train(config: TrainConfig) -> Path | None:
    """Tunes a language model into a classifier of tweets.

    Trains a LoRA adapter to complete the prompt with the label. Several times on the way the validation split is
    decoded, and the adapter with the best macro-F1 is kept. It is then loaded again onto a fresh base model and must
    predict the same. Writes a folder with adapter/, config.yaml, training.jsonl, tensorboard/ and manifest.json.
    With --search, short trainings choose some of the settings first, on the validation split alone.
    It can be stopped or killed at any moment; with --resume it goes on from its last checkpoint.
    torchrun or accelerate launch start it in several processes, on one machine or many.
    """
    _check(config)
    out = Path(config.out)
    if config.resume and os.path.exists(out / MANIFEST):  # noqa: PTH110 - no error where the name cannot be
        return _finished(config) if _first() else None
    from pipeline.model.base import check_base_model  # loads no library
    from pipeline.model.device import check_device

    check_base_model(config.base_model)
    dataset = PreparedDataset.load(config.dataset)
    train_rows, val_rows = dataset.rows("train"), dataset.rows("val")
    if not train_rows or not val_rows:
        raise PipelineError(f"{config.dataset}: expected rows in train.json and val.json; prepare it with more tweets")
    existed = os.path.lexists(out)
    with Lock(out) as lock:
        first = _first()
        if first:
            _claim(config, lock)

        log.info("loading PyTorch and transformers")
        check_device(config.device)
        from pipeline.model.base import resolve_base_model
        from pipeline.model.checkpoints import newest
        from pipeline.model.encoding import Encoder
        from pipeline.model.loading import family_of, load_tokenizer, place
        from pipeline.model.processes import Processes
        from pipeline.model.training import check_model
        from pipeline.scoring.validation import validation_score

        placement = place(config.precision, config.device)
        processes = Processes(placement.device)
        if config.batch_size % (config.micro_batch_size * processes.count):
            raise PipelineError(
                f"--batch_size {config.batch_size}: expected a multiple of micro_batch_size times the number of "
                f"processes, {config.micro_batch_size} x {processes.count}"
            )
        base = resolve_base_model(config.base_model)
        tokenizer = load_tokenizer(base)
        family = family_of(base, tokenizer) if config.family == "auto" else config.family
        config = dataclasses.replace(config, family=family)
        encoder = Encoder(tokenizer, asked_as(dataset.task, family, tokenizer), config.max_length)
        check_model(base, placement, encoder, _settings(config)[0])
        if first:
            out.mkdir(parents=True, exist_ok=True)
            lock.take()
            # Another run may have been faster, and is gone again.
            if config.resume and (out / MANIFEST).exists():
                return _finished(config)
            if not config.resume and (out / CONFIG).exists():
                refuse_existing(out, begun=CONFIG)
        synthetic = sum(row.synthetic for row in train_rows)
        log.info(
            "tuning %s, asked as %s, in %s on %s: %d tweets%s, %d for validation, %d classes",
            base.name, family, placement.precision, placement.device, len(train_rows),
            f" ({synthetic} of them synthetic)" if synthetic else "", len(val_rows), len(dataset.task.labels),
        )  # fmt: skip
        log.info("the prompt: %r", str(encoder.task.prompt("{tweet}")))
        if first:
            warn_of_language(config.base_model, [row.input for row in train_rows])
        with _removed_if_unused(out, new=first and not existed), _going_on(out):
            found: dict[str, Any] = {}
            if config.search:
                from pipeline.searching import search_settings

                _write_config(config, out)
                lora, settings = _settings(config)
                begun_with = _fingerprint(
                    dataclasses.replace(config, search=None), dataset, base, placement, encoder.task
                )
                try:
                    config, found = search_settings(
                        config, base, placement, encoder, train_rows, val_rows,
                        lora=lora, settings=settings, score=validation_score(dataset.task.labels), folder=out,
                        fingerprint=begun_with | {"search_share": config.search_share},
                    )  # fmt: skip
                except StoppedError as error:  # which speaks of the folder of a trial
                    raise StoppedError(f"{out}: stopped while it searched; {_GO_ON}") from error
            fingerprint = _fingerprint(config, dataset, base, placement, encoder.task)
            (checkpoint, *_) = processes.gather(newest(out) if config.resume and first else None)
            if checkpoint is not None:
                refuse_changes(out, checkpoint.fingerprint, fingerprint)
            if first:
                _write_config(config, out)
            _tune(
                config, dataset, base, placement, encoder, (train_rows, val_rows), fingerprint, checkpoint,
                processes=processes, found=found,
            )  # fmt: skip
        if first:
            # Only now: without checkpoints a run that is killed at this moment would have to begin again.
            _tidy(out, lock)
        processes.part()
    return out if first else None


@contextlib.contextmanager
def _going_on(out: Path) -> Iterator[None]:
    """A block that may be stopped at any moment; while nothing is trained, but loaded or checked, it is said here."""
    try:
        yield
    except KeyboardInterrupt as error:
        raise StoppedError(f"{out}: stopped; {_GO_ON}") from error


@contextlib.contextmanager
def _removed_if_unused(out: Path, *, new: bool) -> Iterator[None]:
    """A block after whose failure the folder is gone again, if it is new and nothing in it can be gone on with.

    What was refused would else stand in the way of the corrected command.
    """
    try:
        yield
    except BaseException:
        done = (out / TRAINING_LOG, out / SEARCH_LOG)
        if (
            new
            and not any((out / CHECKPOINTS).glob("[!.]*"))
            and not any(p.is_file() and p.stat().st_size for p in done)
        ):
            # First under another name, at once: the lock in it goes with it, and another run may take the place.
            aside = out.with_name(f".{out.name[:50]}.{os.getpid()}")
            with contextlib.suppress(OSError):
                out.rename(aside)
            shutil.rmtree(aside, ignore_errors=True)
        raise


def _first() -> bool:
    """Whether this is the one of several processes that cares for the folder."""
    return int(os.environ.get("RANK", "0")) == 0


def _settings(config: TrainConfig) -> "tuple[LoraSettings, TrainingSettings]":
    """The part of the config that the training itself reads."""
    from pipeline.model.adapter import LoraSettings
    from pipeline.model.training import TrainingSettings

    lora = dataclasses.asdict(config.lora) | {"target_modules": tuple(config.lora.target_modules)}
    names = [field.name for field in dataclasses.fields(TrainingSettings)]
    return LoraSettings(**lora), TrainingSettings(**{name: getattr(config, name) for name in names})


def _write_config(config: TrainConfig, out: Path) -> None:
    write_text(out / CONFIG, yaml.safe_dump(_options(config), sort_keys=False))


def _claim(config: TrainConfig, lock: Lock) -> None:
    """Takes the lock of a folder that is there already, before anything slow is done.

    Raises:
        BusyError: another process trains into it.
        PipelineError: it is not to be written to.
    """
    out = Path(config.out)
    # As os.path has it, which is no error where the name cannot be: refuse_existing says so.
    goes_on = config.resume and os.path.isdir(out)  # noqa: PTH112
    if goes_on and not _is_ours(out / CONFIG) and any(not path.name.startswith(".") for path in out.iterdir()):
        raise PipelineError(
            f"{out}: expected a run that was stopped, got a folder without its {CONFIG}; choose another --out"
        )
    if goes_on or os.path.exists(out / LOCK):  # noqa: PTH110
        lock.take()
    if not goes_on:
        refuse_existing(out, begun=CONFIG)


def _is_ours(path: Path) -> bool:
    """Whether a file is the config of a run; other programs call theirs the same."""
    if not path.is_file():
        return False
    try:
        options = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return False
    return isinstance(options, dict) and {"dataset", "base_model", "lora", "micro_batch_size"} <= options.keys()


def _finished(config: TrainConfig) -> Path:
    """A run that needs no going on."""
    run = Run.load(config.out)
    if changed := _changes(run, config):
        raise PipelineError(
            f"{run.folder}: is finished already, and was made with other options: {', '.join(changed)}; choose another "
            "--out"
        )
    log.info("%s: is finished already", run.folder)
    if (run.folder / CHECKPOINTS).exists() or (run.folder / LOCK).exists():  # killed when it had just finished
        with Lock(run.folder) as lock, contextlib.suppress(BusyError):
            lock.take()
            _tidy(run.folder, lock)
    return run.folder


def _changes(run: Run, config: TrainConfig) -> list[str]:
    """What a finished run would be made with now, where it is not what it was made with, as ``seed 1 -> 2``.

    Paths do not count but what they lead to, if it is there, nor what an older version did not know.
    """
    from pipeline.model.base import folder_fingerprint

    before, now = _flat(run.manifest.get("config", {})), _flat(_options(config))
    if config.search and (found := run.manifest.get("search")):
        # The manifest has the options that a search chose, where the same command has those that it began with.
        before |= {**found["given"]["settings"], "search": config.search}
    pairs = [(name, before[name], now[name]) for name in now if name in before and name not in _ELSEWHERE]
    for name in ("family", "precision", "device"):
        if getattr(config, name) != "auto":
            pairs.append((name, run.manifest.get(name, "alpaca"), getattr(config, name)))
    if (Path(config.dataset) / MANIFEST).is_file():
        parent = run.manifest["parents"]["dataset"]
        other = sha256_of(Path(config.dataset) / MANIFEST) != parent["sha256"]
        pairs.append(("dataset", parent["path"], f"{config.dataset} with other rows" if other else parent["path"]))
    base, path = run.manifest["base_model"], Path(config.base_model)
    if without_home(config.base_model) != base["name"]:
        digest = folder_fingerprint(path) if path.is_dir() else sha256_of(path) if path.is_file() else None
        pairs.append(("base_model", base["name"], base["name"] if digest == base["fingerprint"] else config.base_model))
    return [f"{name} {old} -> {new}" for name, old, new in pairs if old != new]


def _flat(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options with those of the adapter beside them, each by its name on the command line."""
    lora = options.get("lora") or {}
    others = {name: value for name, value in options.items() if name != "lora"}
    return {**others, **{f"lora.{name}": value for name, value in lora.items()}}


def _tidy(out: Path, lock: Lock) -> None:
    """Removes what a finished run has no more need of, the checkpoints that were set aside among it."""
    shutil.rmtree(out / CHECKPOINTS, ignore_errors=True)
    lock.remove()


def _options(config: TrainConfig) -> dict[str, Any]:
    """The options as they are kept; how often a run was interrupted is no part of it."""
    return dataclasses.asdict(dataclasses.replace(config, resume=False))


def _fingerprint(
    config: TrainConfig, dataset: PreparedDataset, base: "BaseModel", placement: "Placement", task: Task
) -> dict[str, object]:
    """What decides the result of a training, by name: it can be gone on with only while all of it is the same.

    Paths do not count but what they lead to, nor ``auto`` but what it came to. The number of processes is that of
    torchrun.
    """
    options = {name: value for name, value in _flat(_options(config)).items() if name not in _ELSEWHERE}
    packages = ("torch", "transformers", "peft", *(("bitsandbytes",) if placement.quantised else ()))
    one_turn = dataclasses.replace(task, turn=None)  # a training has no more
    return {
        **options,
        "dataset": dataset.sha256,
        "base_model": base.fingerprint,
        # A tokenizer's own template may hold the date. What is asked as always needs no word.
        **({} if config.family == "alpaca" else {"family": config.family, "prompt": one_turn.to_json()}),
        "precision": placement.precision,
        "dtype": str(placement.dtype).removeprefix("torch."),
        "device": placement.device,
        "processes": int(os.environ.get("WORLD_SIZE", "1")),
        **{package: importlib.metadata.version(package) for package in packages},
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
    *,
    processes: "Processes",
    found: dict[str, Any],
) -> None:
    """Trains and finishes the folder; ``found`` is what the manifest says of a search."""
    from pipeline.model.training import tune
    from pipeline.scoring.validation import validation_score

    out, task = Path(config.out), encoder.task
    lora, settings = _settings(config)
    result = tune(
        base,
        placement,
        encoder,
        *rows,
        lora=lora,
        settings=settings,
        score=validation_score(task.labels),
        folder=out,
        processes=processes,
        fingerprint=fingerprint,
        resumed=checkpoint,
    )
    if not processes.first:
        return
    content = {
        "parents": {"dataset": {"path": str(config.dataset), "sha256": dataset.sha256}},
        "text_column": dataset.text_column,
        "base_model": dataclasses.asdict(base),
        "family": config.family,
        "precision": placement.precision,
        "dtype": str(placement.dtype).removeprefix("torch."),
        "device": placement.device,
        "processes": processes.count,
        "max_length": config.max_length,
        "config": _options(config),
        "result": dataclasses.asdict(result),
        "train_rows": {"all": len(rows[0]), "synthetic": sum(row.synthetic for row in rows[0])},
    } | ({"search": found} if found else {})
    write_manifest(out, "run", task, content, skip=("tensorboard", CHECKPOINTS, LOCK))
    tell_outcome(Run.load(out), rows[1], selected_by=config.select_by)


def _check(config: TrainConfig) -> None:
    """Finds impossible numbers before anything is loaded."""
    positive = {
        name: getattr(config, name)
        for name in (
            *("batch_size", "micro_batch_size", "epochs", "learning_rate", "evaluations", "max_length"),
            "checkpoint_steps",
        )
    }
    positive |= {"lora.r": config.lora.r, "lora.alpha": config.lora.alpha, "b_learning_rate": config.b_learning_rate}
    positive |= {
        name: value
        for name, value in {
            "max_steps": config.max_steps,
            "patience": config.patience,
            "lora.last_layers": config.lora.last_layers,
        }.items()
        if value is not None
    }
    for name, value in positive.items():
        if not (math.isfinite(value) and value > 0):
            raise PipelineError(f"--{name}: expected a number above 0, got {value}")
    for name, share in (("warmup", config.warmup), ("lora.dropout", config.lora.dropout)):
        if not 0 <= share < 1:
            raise PipelineError(f"--{name}: expected a share from 0 up to but not 1, got {share}")
    if config.batch_size % config.micro_batch_size:
        raise PipelineError(
            f"--batch_size {config.batch_size}: expected a multiple of micro_batch_size, which is "
            f"{config.micro_batch_size}{'; lower that too' * (config.batch_size < config.micro_batch_size)}"
        )
    if not 0 <= config.seed < 2**32:
        raise PipelineError(f"--seed: expected a number from 0 to {2**32 - 1}, got {config.seed}")
    if not config.lora.target_modules:
        raise PipelineError("--lora.target_modules: expected at least one name, or all-linear, got none")
    if not 0 < config.search_share <= 1:
        raise PipelineError(f"--search_share: expected a share above 0 and up to 1, got {config.search_share}")
    if config.search is not None:
        _check_search(config.search)
    check_trackers(config.report_to)


def _check_search(trials: int) -> None:
    if trials < 2:
        raise PipelineError(f"--search: expected 2 trials or more, the first with the settings as given, got {trials}")
    if (count := int(os.environ.get("WORLD_SIZE", "1"))) > 1:
        raise PipelineError(
            f"--search: expected one process, got {count}; search in one, then train with the config.yaml that it "
            "leaves in several"
        )


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Runs the command line; exits with its code."""
    cli.run(
        TrainConfig,
        train,
        argv,
        name="python -m pipeline.train",
        example="python -m pipeline.train --dataset data/prepared/btc --out data/runs/btc",
        preset="cpu",
        sections=_SECTIONS,
    )


if __name__ == "__main__":
    main()
