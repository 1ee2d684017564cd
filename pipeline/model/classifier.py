"""A finished run, loaded for use: what evaluation and the demo start from."""

import dataclasses

import torch

from pipeline.artifacts import Run
from pipeline.errors import PipelineError
from pipeline.model.base import BaseModel, resolve_base_model
from pipeline.model.decoding import Classifier
from pipeline.model.encoding import Encoder
from pipeline.model.loading import Placement, load_tokenizer, load_tuned, place, scoring_precision


def load_classifier(
    run: Run, *, precision: str = "auto", device: str = "auto", merged: bool = False
) -> tuple[Classifier, Placement]:
    """The classifier that a run has tuned, and where it computes.

    ``precision`` auto is that of the run, but fp32 in place of bf16 on a CPU: bf16 probabilities depend on which
    tweets share a batch. ``merged`` adds the adapter into the weights: faster, but there is no untuned model any more.

    Raises:
        PipelineError: a file of the run has changed, or the base model is not the one it was tuned on.
    """
    adapter = run.adapter
    placement = placement_of(run, precision=precision, device=device)
    base = base_of(run)
    encoder = encoder_of(run, base)
    return Classifier(load_tuned(base, adapter, placement, merged=merged), encoder, settled=True), placement


def placement_of(run: Run, *, precision: str = "auto", device: str = "auto") -> Placement:
    """Where a run's model computes when it is scored, and in which numbers."""
    if precision == "auto":
        precision = scoring_precision(run.manifest["precision"], device)
    placement = place(precision, device)
    if placement.quantised:
        # Another dtype around quantised layers shifts the logits; the model must be scored as it was tuned.
        placement = dataclasses.replace(placement, dtype=getattr(torch, run.manifest["dtype"]))
    return placement


def encoder_of(run: Run, base: BaseModel) -> Encoder:
    """What encodes the prompts of a run, with the tokenizer of ``base``: the run's own, or a model made of it."""
    return Encoder(load_tokenizer(base), run.task, run.manifest["max_length"])


def base_of(run: Run) -> BaseModel:
    """The base model that a run was tuned on, as it was then.

    Raises:
        PipelineError: it is another one now.
    """
    recorded = BaseModel(**run.manifest["base_model"])
    base = resolve_base_model(recorded.name, recorded.fingerprint)
    if base.fingerprint != recorded.fingerprint:
        raise PipelineError(
            f"{recorded.name}: not the base model that {run.folder} was tuned on; expected fingerprint "
            f"{recorded.fingerprint[:16]}, got {base.fingerprint[:16]}; restore it, or train again"
        )
    return base
