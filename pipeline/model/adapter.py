"""LoRA adapters: put on a base model, and checked after they are saved."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peft import LoraConfig, get_peft_model
from safetensors import safe_open

from pipeline.errors import PipelineError
from pipeline.model.loading import quiet
from pipeline.model.lora_linear import in_few_passes

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LoraSettings:
    """LoRA's numbers (Hu et al. 2021): rank r, scaling alpha / r, dropout on the adapter's input, 0 to 1.

    ``target_modules`` names linear layers by their last name part, or is ``("all-linear",)`` for every one but the
    output layer.
    """

    r: int
    alpha: int
    dropout: float
    target_modules: tuple[str, ...]


def add_lora(model: Any, settings: LoraSettings) -> Any:
    """The model with a fresh adapter, whose weights alone are trainable.

    The frozen weights stay as they were loaded (peft's helper for quantised models would raise embeddings and norms
    to fp32), so that a reloaded adapter meets exactly the model it was trained on.

    Raises:
        PipelineError: a target names no linear layer; PEFT itself trains the others without a word.
    """
    every = settings.target_modules == ("all-linear",)
    if not every:
        _check_targets(model, settings.target_modules)
    config = LoraConfig(
        r=settings.r,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules="all-linear" if every else list(settings.target_modules),
        bias="none",
        task_type="CAUSAL_LM",
    )
    with quiet():
        tuned = get_peft_model(model, config if getattr(model, "is_quantized", False) else in_few_passes(config))
    # PEFT has made a set of the names, and a set is saved in another order by every process.
    saved = tuned.peft_config["default"]
    saved.target_modules = sorted(saved.target_modules)
    trainable = sum(p.numel() for p in tuned.parameters() if p.requires_grad)
    logger.info(
        "LoRA: %s trainable parameters in %d layers", f"{trainable:,}", len(tuned.base_model.targeted_module_names)
    )
    return tuned


def check_adapter(folder: Path) -> None:
    """Makes sure that an adapter on disk has learnt something.

    Raises:
        PipelineError: there is no LoRA B matrix, or one of them is all zero, as LoRA starts.
    """
    path = folder / "adapter_model.safetensors"
    if not path.is_file():
        raise PipelineError(f"{path}: missing; the adapter was not saved")
    with safe_open(path, framework="pt") as file:
        matrices = [name for name in file.keys() if "lora_B" in name]  # noqa: SIM118 - it is no mapping
        zero = [name for name in matrices if not file.get_tensor(name).any()]
    if not matrices or zero:
        raise PipelineError(
            f"{path}: expected trained LoRA matrices, got {len(zero)} of {len(matrices)} B matrices all zero; "
            "nothing was learnt there, train for more steps or at a higher learning rate"
        )


def _check_targets(model: Any, targets: Sequence[str]) -> None:
    output = model.get_output_embeddings()
    linear = {
        name.rsplit(".", 1)[-1]
        for name, module in model.named_modules()
        if hasattr(module, "in_features") and module is not output
    }
    missing = sorted(set(targets) - linear)
    if missing:
        raise PipelineError(
            f"lora.target_modules: this model has no linear layer named {', '.join(missing)}; "
            f"expected some of {', '.join(sorted(linear))}, or all-linear"
        )
