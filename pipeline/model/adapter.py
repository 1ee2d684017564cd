"""LoRA adapters: put on a base model, and checked after they are saved."""

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from peft.utils import CONFIG_NAME
from safetensors import safe_open

from pipeline.artifacts import read_json, write_text
from pipeline.errors import PipelineError
from pipeline.model.loading import is_quantised, quiet, set_mode
from pipeline.model.lora_linear import in_few_passes

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LoraSettings:
    """LoRA's numbers (Hu et al. 2021): rank r, scaling alpha / r, dropout on the adapter's input, 0 to 1.

    ``target_modules`` names linear layers by their last name part, or is ``("all-linear",)`` for every one but the
    output layer. ``last_layers`` puts adapters into so many layers from above; None into all. ``variant`` is lora,
    rslora (scaling alpha / sqrt r, Kalajdzievski 2023), dora (Liu et al. 2024) or pissa (Meng et al. 2024).
    """

    r: int
    alpha: int
    dropout: float
    target_modules: tuple[str, ...]
    last_layers: int | None = None
    variant: str = "lora"


def add_lora(model: Any, settings: LoraSettings) -> Any:
    """The model with a fresh adapter, whose weights alone are trainable.

    The frozen weights stay as they were loaded (peft's helper for quantised models would raise embeddings and norms
    to fp32), so that a reloaded adapter meets exactly the model it was trained on.

    Raises:
        PipelineError: a target names no linear layer (PEFT itself trains the others without a word), or the model has
            too few layers or digits for the settings.
    """
    names = check_lora(model, settings, model.dtype)
    depth, last = model.config.num_hidden_layers, settings.last_layers
    config = LoraConfig(
        r=settings.r,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=names,
        layers_to_transform=None if last is None else list(range(depth - last, depth)),
        use_rslora=settings.variant == "rslora",
        use_dora=settings.variant == "dora",
        init_lora_weights="pissa" if settings.variant == "pissa" else True,
        bias="none",
        task_type="CAUSAL_LM",
    )
    with quiet():
        tuned = get_peft_model(model, config if is_quantised(model) else in_few_passes(config))
    set_mode(tuned, training=False)  # the new layers, as the others
    # PEFT has made a set of the names, and a set is saved in another order by every process.
    saved = tuned.peft_config["default"]
    saved.target_modules = sorted(saved.target_modules)
    trainable = sum(p.numel() for p in tuned.parameters() if p.requires_grad)
    logger.info(
        "LoRA: %s trainable parameters in %d layers", f"{trainable:,}", len(tuned.base_model.targeted_module_names)
    )
    return tuned


def check_lora(model: Any, settings: LoraSettings, dtype: torch.dtype) -> list[str]:
    """Makes sure that a model can have this adapter; its layers need no weights for that.

    Args:
        model: the base model.
        settings: the adapter.
        dtype: of the model's weights, once it has some.

    Returns:
        The last parts of the names of the layers that get the adapter.

    Raises:
        PipelineError: a target names no linear layer, or the model has too few layers or digits for the settings.
    """
    names = _targets(model, settings.target_modules)
    depth, last = model.config.num_hidden_layers, settings.last_layers
    if last is not None and last > depth:
        raise PipelineError(f"lora.last_layers: this model has {depth} layers, got {last}; lower it")
    if settings.variant == "pissa" and dtype != torch.float32:
        # It moves the largest part of the weights into the adapter; what is left would be rounded a second time.
        raise PipelineError(f"lora.variant pissa: expected weights in fp32, got {dtype}; add --precision fp32")
    return names


class AdapterFiles:
    """How an adapter is saved: as plain LoRA for the model as it was, whatever its training began with."""

    def __init__(self, model: Any, beginning: Path, base_model: str) -> None:
        """Keeps in the folder ``beginning`` what converts the adapter later, where one needs converting (PiSSA).

        ``base_model`` is the name by which the adapter's config calls the model that it is for.
        """
        self._model = model
        self._base_model = base_model
        self._beginning: Path | None = None
        config = model.peft_config["default"]
        if config.init_lora_weights == "pissa":
            self._beginning = beginning
            config.init_lora_weights = True  # else PEFT would take the saved weights for those to begin with
            with quiet():
                model.save_pretrained(beginning)
            config.init_lora_weights = "pissa"

    def save(self, folder: Path) -> None:
        """Writes the adapter as it is now."""
        with quiet():
            if self._beginning is None:
                self._model.save_pretrained(folder)
            else:
                self._model.save_pretrained(folder, path_initial_model_for_weight_conversion=str(self._beginning))
        # PEFT's card is a form that nobody has filled in; the report writes one. Its config would name a folder of this
        # machine. PEFT itself must not know the name: with each adapter it saves it would look for it on the hub.
        (folder / "README.md").unlink(missing_ok=True)
        config = read_json(folder / CONFIG_NAME) | {"base_model_name_or_path": self._base_model}
        write_text(folder / CONFIG_NAME, json.dumps(config, indent=2, sort_keys=True))


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


def linear_layers(model: Any) -> list[str]:
    """Full names of all linear layers but the output layer."""
    output = model.get_output_embeddings()
    return [name for name, module in model.named_modules() if hasattr(module, "in_features") and module is not output]


def _targets(model: Any, targets: Sequence[str]) -> list[str]:
    linear = {name.rsplit(".", 1)[-1] for name in linear_layers(model)}
    if tuple(targets) == ("all-linear",):
        return sorted(linear)
    missing = sorted(set(targets) - linear)
    if missing:
        raise PipelineError(
            f"lora.target_modules: this model has no linear layer named {', '.join(missing)}; "
            f"expected some of {', '.join(sorted(linear))}, or all-linear"
        )
    return list(targets)
