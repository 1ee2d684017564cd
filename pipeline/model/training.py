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
from transformers import Trainer, TrainingArguments, set_seed
from transformers.trainer_callback import PrinterCallback

from pipeline.artifacts import Row
from pipeline.errors import PipelineError, first_line
from pipeline.model.adapter import LoraSettings, add_lora, check_adapter
from pipeline.model.attention import NAME as PACKED
from pipeline.model.attention import attention
from pipeline.model.base import BaseModel
from pipeline.model.checkpoints import LOG, Checkpoint, Checkpoints
from pipeline.model.decoding import Classifier, Decoded
from pipeline.model.encoding import Encoder
from pipeline.model.examples import (
    CompletionLoss,
    Example,
    PackedCollator,
    PaddedCollator,
    Schedule,
    class_weights,
    encode_examples,
    in_order,
)
from pipeline.model.loading import Placement, load_base, load_tuned, quiet
from pipeline.model.progress import TrainingLog, TrainingProgress, tensorboard
from pipeline.model.shortage import is_out_of_memory
from pipeline.model.validation import Score, Validation

logger = logging.getLogger(__name__)

# How far, relative to their norm, logits of packed rows may lie from those of whole prompts: rounding, no more.
_EXACT, _ROUNDED = 1e-3, 0.05


@dataclass(frozen=True)
class TrainingSettings:
    """Numbers of one training. Batch sizes are in tweets, ``warmup`` is a share of the steps, 0 to 1.

    ``max_steps`` is a limit on what ``epochs`` asks for; ``evaluations`` is how often in a run the validation split
    is decoded, evenly spread, the last time at the end; a checkpoint is written then, and every ``checkpoint_steps``
    optimizer steps. ``sampling`` is a way of ``examples.SAMPLING``,
    ``class_weights`` one of ``examples.class_weights``.
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


@dataclass(frozen=True)
class TrainingResult:
    """What a training came to.

    ``best_step`` is the optimizer step whose adapter was kept, ``best_score`` its macro-F1 on the validation split and
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
    fingerprint: Mapping[str, Any] | None = None,
    resumed: Checkpoint | None = None,
) -> TrainingResult:
    """Trains an adapter and writes ``adapter/ checkpoints/ tensorboard/ training.jsonl`` into ``folder``.

    The loss covers the completion only. The adapter whose decoded validation labels have the best macro-F1 is kept,
    saved, loaded again onto a fresh base, and must predict the same. From ``resumed``, a checkpoint in ``folder`` whose
    ``fingerprint`` is the same, it goes on as if it had not been interrupted.

    Raises:
        PipelineError: a LoRA target does not exist, or the saved adapter is empty or predicts something else.
        StoppedError: a signal came; a checkpoint was written.
        ShortageError: the disk is full.
        MemoryError: the GPU or the memory is too small; the message says what to lower.
    """
    set_seed(settings.seed)
    model = load_base(base, placement)
    context = getattr(model.config, "max_position_embeddings", encoder.max_length)
    if context < encoder.max_length:
        raise PipelineError(f"--max_length {encoder.max_length}: {base.name} reads at most {context} tokens; lower it")
    model = add_lora(model, lora)
    checkpoints = Checkpoints(folder, settings.checkpoint_steps, fingerprint or {}, resumed)
    try:
        result, expected = _train(Classifier(model, encoder), train, val, settings, score, folder, checkpoints)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise MemoryError(
            f"{placement.device}: {settings.micro_batch_size} tweets of up to {encoder.max_length} tokens do not fit; "
            "lower --micro_batch_size, then --max_length, or take --precision int8"
        ) from error
    del model
    gc.collect()  # the check loads a second model; this one makes room first
    _check_reload(
        Classifier(load_tuned(base, folder / "adapter", placement), encoder), folder / "adapter", val, expected
    )
    return result


def _train(
    classifier: Classifier,
    train: Sequence[Row],
    val: Sequence[Row],
    settings: TrainingSettings,
    score: Score,
    folder: Path,
    checkpoints: Checkpoints,
) -> tuple[TrainingResult, list[Decoded]]:
    """The training proper. Gives also what the model with the saved adapter answered to the validation split."""
    model, encoder = classifier.model, classifier.encoder
    steps = math.ceil(settings.epochs * len(train) / settings.batch_size)
    if settings.max_steps is not None and settings.max_steps < steps:
        steps = settings.max_steps
    logger.info(
        "%d steps of %d tweets, %.1f epochs", steps, settings.batch_size, steps * settings.batch_size / len(train)
    )
    examples, shortened = encode_examples(encoder, train)
    labels = [row.output for row in train]
    order = in_order(labels, steps * settings.batch_size, settings.sampling, settings.seed)
    weights = class_weights(Counter(labels), encoder.task.labels, settings.class_weights)
    collator = _collator(model, encoder, examples)
    every = math.ceil(steps / settings.evaluations)
    validation = Validation(classifier, val, score, every, checkpoints.best, checkpoints.stop)
    with TrainingLog(folder / LOG, len(train) / settings.batch_size) as log:
        trainer = Trainer(
            model=model,
            args=_arguments(settings, model.device.type, steps, checkpoints.scratch),
            train_dataset=Schedule(examples, order, settings.batch_size),
            data_collator=collator,
            compute_loss_func=CompletionLoss(encoder, weights),
            callbacks=[
                TrainingProgress(settings.batch_size),
                validation,
                checkpoints,
                log,
                tensorboard(folder / "tensorboard", checkpoints.step),
            ],
        )
        trainer.remove_callback(PrinterCallback)
        validation.log = trainer.log
        with quiet(), attention(model, PACKED if isinstance(collator, PackedCollator) else validation.attention):
            checkpoints.train(trainer, validation)
    checkpoints.keep_best(folder / "adapter")
    seconds = checkpoints.seconds
    result = TrainingResult(
        steps=steps,
        best_step=validation.best_step,
        best_score=validation.best_score,
        unparsed_rate=sum(answer.generate is None for answer in validation.best_answers) / len(val),
        seconds=round(seconds, 1),
        training_seconds=round(seconds - validation.seconds, 1),
        tweets_per_second=round(steps * settings.batch_size / (seconds - validation.seconds), 2),
        trainable_parameters=sum(p.numel() for p in model.parameters() if p.requires_grad),
        shortened=shortened,
    )
    return result, validation.best_answers


def _collator(model: Any, encoder: Encoder, examples: Sequence[Example]) -> PackedCollator | PaddedCollator:
    """Packed rows where the model computes the same with them as with whole prompts, which is tried on two tweets."""
    packed, padded = PackedCollator(encoder), PaddedCollator(encoder)
    # Dropped attention weights would need another gradient.
    why = "it drops attention weights" if getattr(model.config, "attention_dropout", 0) else ""
    if not why:
        trial = sorted(examples[:16], key=lambda example: len(example.ids))[:: max(1, len(examples[:16]) - 1)]
        try:
            with torch.inference_mode():
                expected = model(**_inputs(padded(trial), model.device)).logits.flatten(0, 1).float()
                with attention(model, PACKED):
                    got = model(**_inputs(packed(trial), model.device)).logits.flatten(0, 1).float()
        except (TypeError, ValueError, KeyError, RuntimeError, AttributeError) as error:
            why = first_line(error)
        else:
            difference = float((got - expected).norm() / expected.norm())
            if not difference < (_ROUNDED if model.dtype != torch.float32 else _EXACT):
                why = f"its answers would differ by {difference:.1%}"
    if why:
        logger.warning("%s cannot be trained on packed rows (%s): whole prompts are slower", type(model).__name__, why)
    return padded if why else packed


def _inputs(batch: dict[str, Any], device: torch.device) -> dict[str, torch.Tensor]:
    return {name: tensor.to(device) for name, tensor in batch.items() if name != "labels"}


def _arguments(settings: TrainingSettings, device: str, steps: int, folder: Path) -> TrainingArguments:
    arguments = TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=settings.micro_batch_size,
        gradient_accumulation_steps=settings.batch_size // settings.micro_batch_size,
        max_steps=steps,
        learning_rate=settings.learning_rate,
        warmup_steps=round(settings.warmup * steps),
        lr_scheduler_type="linear",
        optim="adamw_torch",
        # No autocast: activations have the model's dtype, the adapter is fp32, and decoding computes the same way.
        bf16=False,
        use_cpu=device == "cpu",
        train_sampling_strategy="sequential",  # the schedule has the order
        logging_steps=max(1, min(10, steps // (2 * settings.evaluations))),
        eval_strategy="no",  # decoded labels count, not the loss alone: see Validation
        save_strategy="no",  # Checkpoints says when
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=device == "cuda",
        remove_unused_columns=False,
        seed=settings.seed,
    )
    # One process, one GPU: else the Trainer would wrap the model in DataParallel, which splits every tensor by rows.
    arguments._n_gpu = min(arguments.n_gpu, 1)
    return arguments


def _check_reload(again: Classifier, adapter: Path, val: Sequence[Row], expected: Sequence[Decoded]) -> None:
    """The adapter, loaded onto a fresh base, must predict what the trained model predicted.

    Raises:
        PipelineError: the adapter is empty, or a prediction differs.
    """
    check_adapter(adapter)
    answers = again.decode([row.input for row in val], progress="checking the saved adapter")
    different = sum(a.completion != b.completion for a, b in zip(answers, expected, strict=True))
    if different:
        raise PipelineError(
            f"{adapter}: loaded again it answers {different} of {len(val)} validation tweets differently than in "
            "training; the run is not trustworthy and was not finished, please report it"
        )
