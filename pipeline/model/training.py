"""Tuning a LoRA adapter with the Hugging Face Trainer, by composition: nothing of it is subclassed or patched."""

import gc
import logging
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft.optimizers import create_loraplus_optimizer
from transformers import Trainer, TrainerCallback, TrainingArguments, set_seed
from transformers.trainer_callback import PrinterCallback

from pipeline.artifacts import TRAINING_LOG, Row
from pipeline.errors import PipelineError
from pipeline.model.adapter import AdapterFiles, LoraSettings, add_lora, check_adapter, check_lora
from pipeline.model.base import BaseModel
from pipeline.model.checkpoints import Checkpoint, Checkpoints
from pipeline.model.decoding import Classifier, Decoded
from pipeline.model.encoding import Encoder
from pipeline.model.examples import CompletionLoss, Schedule, class_weights, encode_examples, in_order
from pipeline.model.layout import Layout
from pipeline.model.loading import Placement, load_base, load_tuned, quiet, without_weights
from pipeline.model.processes import Processes
from pipeline.model.progress import TrainingLog, TrainingProgress, tensorboard
from pipeline.model.shortage import is_out_of_memory
from pipeline.model.validation import Score, Validation, decode_together

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingSettings:
    """Numbers of one training. Batch sizes are in tweets, ``warmup`` is a share of the steps, 0 to 1.

    ``max_steps`` is a limit on what ``epochs`` asks for; ``evaluations`` is how often in a run the validation split
    is decoded, evenly spread, the last time at the end; a checkpoint is written then, and every ``checkpoint_steps``
    optimizer steps. ``sampling`` is a way of ``examples.SAMPLING``,
    ``class_weights`` one of ``examples.class_weights``. ``select_by`` names the metric of the score that chooses the
    adapter, ``patience`` the validations without a better one after which the training ends. ``b_learning_rate`` is a
    factor of LoRA+. ``report_to`` names trackers that the Trainer knows.
    """

    batch_size: int
    micro_batch_size: int
    epochs: float
    max_steps: int | None
    learning_rate: float
    warmup: float
    evaluations: int
    seed: int
    checkpoint_steps: int = 25
    sampling: str = "natural"
    class_weights: str = "none"
    select_by: str = "macro_f1"
    patience: int | None = None
    b_learning_rate: float = 1.0
    report_to: Sequence[str] = ()


@dataclass(frozen=True)
class TrainingResult:
    """What a training came to.

    ``best_step`` is the optimizer step whose adapter was kept, ``best_score`` its score on the validation split and
    ``unparsed_rate`` the share of its answers there, 0 to 1, that are no label;
    ``seconds`` the time in the training loop, ``training_seconds`` the same without validation, of which the rate is;
    ``shortened`` the number of training tweets that lost their end to fit.
    """

    steps: int
    best_step: int
    best_score: float
    unparsed_rate: float
    seconds: float
    training_seconds: float
    tweets_per_second: float
    trainable_parameters: int
    shortened: int


def tune(
    base: BaseModel,
    placement: Placement,
    encoder: Encoder,
    train: Sequence[Row],
    val: Sequence[Row],
    *,
    lora: LoraSettings,
    settings: TrainingSettings,
    score: Score,
    folder: Path,
    processes: Processes | None = None,
    fingerprint: Mapping[str, Any] | None = None,
    resumed: Checkpoint | None = None,
) -> TrainingResult:
    """Trains an adapter and writes ``adapter/ checkpoints/ tensorboard/ training.jsonl`` into ``folder``.

    The loss covers the completion only. The adapter whose decoded validation labels are the best is kept, saved,
    loaded again onto a fresh base, and must predict the same. ``processes`` are those that train together; None is this
    one alone. From ``resumed``, a checkpoint in ``folder`` whose ``fingerprint`` is the same, it goes on as if it had
    not been interrupted.

    Raises:
        PipelineError: a LoRA target does not exist, or the saved adapter is empty or predicts something else.
        StoppedError: a signal came; a checkpoint was written.
        ShortageError: the disk is full.
        MemoryError: the GPU or the memory is too small; the message says what to lower.
    """
    processes = processes or Processes(placement.device)
    result, expected = attempt(
        base, placement, encoder, train, val,
        lora=lora, settings=settings, score=score, folder=folder, processes=processes,
        fingerprint=fingerprint, resumed=resumed,
    )  # fmt: skip
    gc.collect()  # the check loads a second model; this one makes room first
    again = Classifier(load_tuned(base, folder / "adapter", placement), encoder)
    _check_reload(again, folder / "adapter", val, expected, processes)
    return result


def attempt(
    base: BaseModel,
    placement: Placement,
    encoder: Encoder,
    train: Sequence[Row],
    val: Sequence[Row],
    *,
    lora: LoraSettings,
    settings: TrainingSettings,
    score: Score,
    folder: Path,
    processes: Processes,
    fingerprint: Mapping[str, Any] | None = None,
    resumed: Checkpoint | None = None,
    watch: Sequence[TrainerCallback] = (),
) -> tuple[TrainingResult, list[Decoded]]:
    """What ``tune`` does up to the check of the saved adapter, and what the best adapter answered to ``val``.

    ``watch`` sees the training go on, every validation with it, and may stop it.

    Raises:
        PipelineError: a LoRA target does not exist, or the loss is no number any more (``DivergedError``).
        StoppedError, ShortageError, MemoryError: as in ``tune``.
    """
    set_seed(settings.seed)
    model = load_base(base, placement)
    _check_context(model, base, encoder)
    classifier = Classifier(add_lora(model, lora), encoder)
    checkpoints = Checkpoints(folder, settings.checkpoint_steps, fingerprint or {}, resumed, processes)
    try:
        return _train(
            classifier, base, train, val, lora, settings, score, checkpoints, processes=processes, watch=watch
        )
    except (RuntimeError, MemoryError) as error:
        # Where tweets are decoded it says so itself, and other options matter.
        if not is_out_of_memory(error) or (type(error) is MemoryError and error.args):
            raise
        raise MemoryError(
            f"{placement.device}: {settings.micro_batch_size} tweets of up to {encoder.max_length} tokens do not fit; "
            "lower --micro_batch_size, then --max_length, or take --precision int8"
        ) from error


def check_model(base: BaseModel, placement: Placement, encoder: Encoder, lora: LoraSettings) -> None:
    """Finds out, before weights are loaded, whether a model can be trained so.

    Raises:
        PipelineError: a LoRA target does not exist, or the model has too few layers or digits, or reads too few tokens.
    """
    model = without_weights(base)
    _check_context(model, base, encoder)
    check_lora(model, lora, placement.dtype)


def _check_context(model: Any, base: BaseModel, encoder: Encoder) -> None:
    context = getattr(model.config, "max_position_embeddings", encoder.max_length)
    if context < encoder.max_length:
        raise PipelineError(f"--max_length {encoder.max_length}: {base.name} reads at most {context} tokens; lower it")


def steps_of(settings: TrainingSettings, tweets: int) -> int:
    """Optimizer steps of a training on so many tweets: as many as the epochs take, up to the limit."""
    steps = math.ceil(settings.epochs * tweets / settings.batch_size)
    return steps if settings.max_steps is None else min(settings.max_steps, steps)


def _train(
    classifier: Classifier,
    base: BaseModel,
    train: Sequence[Row],
    val: Sequence[Row],
    lora: LoraSettings,
    settings: TrainingSettings,
    score: Score,
    checkpoints: Checkpoints,
    *,
    processes: Processes,
    watch: Sequence[TrainerCallback],
) -> tuple[TrainingResult, list[Decoded]]:
    """The training proper. Gives also what the model with the saved adapter answered to the validation split."""
    model, encoder = classifier.model, classifier.encoder
    steps = steps_of(settings, len(train))
    logger.info(
        "%d steps of %d tweets, %.1f epochs", steps, settings.batch_size, steps * settings.batch_size / len(train)
    )
    examples, shortened = encode_examples(encoder, train)
    labels = [row.output for row in train]
    order = in_order(labels, steps * settings.batch_size, settings.sampling, settings.seed)
    # By what is seen: a class that is sampled more often needs less weight.
    seen = Counter(labels[index] for index in order)
    weights = class_weights(seen, encoder.task.labels, settings.class_weights)
    layout = Layout(model, encoder, examples, last_layers=lora.last_layers, scratch=checkpoints.workspace)
    validation = Validation(
        classifier,
        val,
        score,
        times=settings.evaluations,
        chosen_by=settings.select_by,
        patience=settings.patience,
        adapter=checkpoints.best,
        files=AdapterFiles(model, checkpoints.workspace / "beginning", base.public_name),
        processes=processes,
        stop=checkpoints.stop,
        decoding=layout.decoding,
    )
    callbacks: list[TrainerCallback] = [validation, *watch, checkpoints]
    if processes.first:
        run = checkpoints.run
        callbacks = [
            TrainingProgress(settings.batch_size, settings.select_by),
            *callbacks,
            TrainingLog(run / TRAINING_LOG, len(train) / settings.batch_size),
            tensorboard(run / "tensorboard", checkpoints.step),
        ]
    trainer = Trainer(
        model=model,
        args=_arguments(settings, model.device.type, steps, checkpoints.scratch, processes),
        train_dataset=Schedule(examples, order, settings.batch_size),
        data_collator=layout.collator,
        compute_loss_func=CompletionLoss(encoder, weights),
        callbacks=callbacks,
        optimizers=(_optimizer(model, settings), None),
    )
    trainer.remove_callback(PrinterCallback)
    validation.log = trainer.log
    with quiet(), layout.training():
        checkpoints.train(trainer, validation)
    checkpoints.keep_best()
    seconds = checkpoints.seconds
    done = trainer.state.global_step
    result = TrainingResult(
        steps=done,
        best_step=validation.best_step,
        best_score=validation.best_score,
        unparsed_rate=sum(answer.generate is None for answer in validation.best_answers) / len(val),
        seconds=round(seconds, 1),
        training_seconds=round(seconds - validation.seconds, 1),
        tweets_per_second=round(done * settings.batch_size / (seconds - validation.seconds), 2),
        trainable_parameters=sum(p.numel() for p in model.parameters() if p.requires_grad),
        shortened=shortened,
    )
    return result, validation.best_answers


def _optimizer(model: Any, settings: TrainingSettings) -> torch.optim.Optimizer | None:
    """LoRA+ (Hayou et al. 2024): the B matrices learn faster than the A matrices. None for the Trainer's own AdamW."""
    if settings.b_learning_rate == 1:
        return None
    optimizer: torch.optim.Optimizer = create_loraplus_optimizer(
        model, torch.optim.AdamW, lr=settings.learning_rate, loraplus_lr_ratio=settings.b_learning_rate
    )
    return optimizer


def _arguments(
    settings: TrainingSettings, device: str, steps: int, folder: Path, processes: Processes
) -> TrainingArguments:
    arguments = TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=settings.micro_batch_size,
        gradient_accumulation_steps=settings.batch_size // (settings.micro_batch_size * processes.count),
        max_steps=steps,
        learning_rate=settings.learning_rate,
        warmup_steps=round(settings.warmup * steps),
        lr_scheduler_type="linear",
        optim="adamw_torch",
        # No autocast: activations have the model's dtype, the adapter is fp32, and decoding computes the same way.
        bf16=False,
        use_cpu=device == "cpu",
        ddp_backend="gloo" if device == "cpu" and processes.count > 1 else None,
        ddp_find_unused_parameters=False,
        train_sampling_strategy="sequential",  # the schedule has the order
        logging_steps=max(1, min(10, steps // (2 * settings.evaluations))),
        eval_strategy="no",  # decoded labels count, not the loss alone: see Validation
        save_strategy="no",  # Checkpoints says when
        report_to=list(settings.report_to),
        disable_tqdm=True,
        dataloader_pin_memory=device == "cuda",
        remove_unused_columns=False,
        seed=settings.seed,
    )
    # accelerate launch may ask for autocast by a variable; see above.
    arguments.mixed_precision = "no"
    # One process, one GPU: else the Trainer would wrap the model in DataParallel, which splits every tensor by rows.
    arguments._n_gpu = min(arguments.n_gpu, 1)
    return arguments


def _check_reload(
    again: Classifier, adapter: Path, val: Sequence[Row], expected: Sequence[Decoded], processes: Processes
) -> None:
    """The adapter, loaded onto a fresh base, must predict what the trained model predicted.

    Raises:
        PipelineError: the adapter is empty, or a prediction differs.
    """
    check_adapter(adapter)
    answers = decode_together(again, [row.input for row in val], processes, progress="checking the saved adapter")
    different = sum(a.completion != b.completion for a, b in zip(answers, expected, strict=True))
    if different:
        raise PipelineError(
            f"{adapter}: loaded again it answers {different} of {len(val)} validation tweets differently than in "
            "training; the run is not trustworthy and was not finished, please report it"
        )
