"""Loading weights: precision, device, quantisation, LoRA adapters."""

import contextlib
import dataclasses
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig, PreTrainedTokenizerBase
from transformers.utils import logging as transformers_logging

from pipeline.artifacts import read_json
from pipeline.errors import PipelineError, first_line
from pipeline.families import Name, recognise
from pipeline.model.base import EMBEDDED, BaseModel
from pipeline.model.device import check_device
from pipeline.model.shortage import is_out_of_memory


@dataclass(frozen=True)
class Placement:
    """Where a model computes and in which numbers.

    ``precision`` is that of the weights: bf16, fp32, int8 or nf4. ``dtype`` is that of the activations.
    """

    device: str
    precision: str
    dtype: torch.dtype

    @property
    def quantised(self) -> bool:
        """Whether bitsandbytes holds the weights."""
        return self.precision in ("int8", "nf4")


def place(precision: str, device: str) -> Placement:
    """Resolves ``auto`` for this machine and checks that it can do what is asked.

    Raises:
        PipelineError: no GPU where one is asked for.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    check_device(device)
    if precision == "auto":
        precision = "bf16" if has_native_bf16(device) else "fp32"
    # There is no fp16: it would need loss scaling and autocast, and then training and decoding would be two functions.
    whole = precision == "fp32" or (precision != "bf16" and not has_native_bf16(device))
    return Placement(device, precision, torch.float32 if whole else torch.bfloat16)


def scoring_precision(run_precision: str, device: str) -> str:
    """The precision to decode a run in, unless the user names one.

    bf16 probabilities depend on which tweets share a batch, so on a CPU an unquantised run is decoded in fp32.
    """
    on_cpu = device == "cpu" or (device == "auto" and not torch.cuda.is_available())
    return "fp32" if on_cpu and run_precision == "bf16" else run_precision


def has_native_bf16(device: str) -> bool:
    """Whether the device multiplies bf16 in hardware; a CPU that does not is faster in fp32."""
    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capabilities = torch.cpu.get_capabilities()  # x86 names it avx512_bf16, ARM bf16
    return bool(capabilities.get("avx512_bf16") or capabilities.get("bf16"))


def load_tokenizer(base: BaseModel) -> PreTrainedTokenizerBase:
    """The tokenizer, padding on the left.

    Raises:
        PipelineError: it cannot be read, or it does not give back the text it was given.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(base.location, trust_remote_code=False)
    except Exception as error:  # the tokenizers library raises plain Exception for a file it cannot read
        raise PipelineError(f"{base.name}: expected a tokenizer; {first_line(error)}") from error
    return ready_tokenizer(tokenizer, base.name)


def family_of(base: BaseModel, tokenizer: PreTrainedTokenizerBase) -> Name:
    """Name of the family of prompts that a base model belongs to; see ``families``."""
    if base.name in EMBEDDED:
        return EMBEDDED[base.name].family
    return recognise(read_json(Path(base.location) / "config.json"), tokenizer)


def ready_tokenizer(tokenizer: PreTrainedTokenizerBase, name: str) -> PreTrainedTokenizerBase:
    """The tokenizer, padding on the left, once it is known to give back what it was given.

    ``name`` is that of its model, for the error.

    Raises:
        PipelineError: it does not.
    """
    probe = "Bitcoin is up 3%, isn't it?"
    ids = tokenizer(probe, add_special_tokens=False)["input_ids"]
    if tokenizer.decode(ids).strip() != probe:
        raise PipelineError(
            f"{name}: its tokenizer turns {probe!r} into {tokenizer.decode(ids)!r}; its files are of another class"
        )
    tokenizer.padding_side = "left"
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load_base(base: BaseModel, placement: Placement) -> Any:
    """The base model in evaluation mode, from safetensors only, never with code of the checkpoint's own.

    Raises:
        PipelineError: the weights cannot be read, some are missing, or they are quantised already.
        MemoryError: they do not fit on the GPU.
    """
    arguments: dict[str, Any] = {"dtype": placement.dtype}
    if placement.device == "cpu":
        # PyTorch's fused attention is the slower one here: with a padded mask its backward takes a third of a step.
        arguments["attn_implementation"] = "eager"
    if placement.precision == "int8":
        arguments["quantization_config"] = BitsAndBytesConfig(load_in_8bit=True)
    elif placement.precision == "nf4":
        arguments["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=placement.dtype
        )
    if placement.device == "cuda" or placement.quantised:
        # Of several processes each has a GPU of its own, which accelerate has made the current one.
        arguments["device_map"] = {"": torch.cuda.current_device() if placement.device == "cuda" else "cpu"}
    try:
        with quiet():
            model, found = AutoModelForCausalLM.from_pretrained(
                base.location, use_safetensors=True, trust_remote_code=False, output_loading_info=True, **arguments
            )
    except (OSError, ValueError, KeyError, ImportError, RuntimeError, MemoryError, SafetensorError) as error:
        if is_out_of_memory(error):
            raise MemoryError(f"{base.name} does not fit on the {placement.device} in {placement.precision}") from error
        raise PipelineError(f"{base.name}: cannot be loaded; {first_line(error)}") from error
    if is_quantised(model) and not placement.quantised:
        raise PipelineError(
            f"{base.name}: expected whole weights, got quantised ones; take the model that they were made of, with "
            "--precision int8 or nf4"
        )
    absent = sorted(map(str, [*found["missing_keys"], *found["mismatched_keys"]]))
    if absent:
        # transformers would fill them with random numbers and go on.
        raise PipelineError(
            f"{base.name}: expected weights for every layer; {len(absent)} are missing or of another shape, "
            f"{absent[0]} among them; the checkpoint is damaged or its config.json is another model's"
        )
    for module in model.modules():
        if type(module).__name__ == "Linear4bit":
            # The AVX512 path repacks the weights in the first evaluation; after that gradients vanish.
            module.support_avx512bf16_for_cpu = False
    set_mode(model, training=False)
    return model


def is_quantised(model: Any) -> bool:
    """Whether the weights of a loaded model are quantised."""
    return bool(getattr(model, "is_quantized", False))


def without_weights(base: BaseModel) -> Any:
    """The base model's layers with no numbers in them, at once and without memory: to look at their names.

    Raises:
        PipelineError: its config cannot be read.
    """
    try:
        with quiet(), torch.device("meta"):
            config = AutoConfig.from_pretrained(base.location, trust_remote_code=False)
            return AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise PipelineError(f"{base.name}: cannot be loaded; {first_line(error)}") from error


def load_tuned(base: BaseModel, adapter: Path, placement: Placement, *, merged: bool = False) -> Any:
    """The base model with a trained adapter, in evaluation mode; the adapter can be disabled, unless it is ``merged``.

    Merging is done in fp32, and the weights are rounded once.

    Raises:
        PipelineError: a quantised model shall be merged, or the merged weights are no numbers.
    """
    from peft import PeftConfig, PeftModel

    from pipeline.model.lora_linear import in_few_passes

    if merged:
        if placement.quantised:
            raise PipelineError(f"--merged: expected --precision bf16 or fp32 with it, got {placement.precision}")
        whole = dataclasses.replace(placement, precision="fp32", dtype=torch.float32)
        try:
            model = load_tuned(base, adapter, whole).merge_and_unload(safe_merge=True).to(placement.dtype)
        except ValueError as error:
            raise PipelineError(f"{adapter}: cannot be merged; {first_line(error)}; train again") from error
        set_mode(model, training=False)
        return model
    with quiet():
        config = PeftConfig.from_pretrained(str(adapter))
        if not placement.quantised:
            config = in_few_passes(config)
        model = PeftModel.from_pretrained(load_base(base, placement), str(adapter), config=config)
    if placement.precision == "fp32":
        model = model.float()
    set_mode(model, training=False)
    return model


def ends_of(told: int | list[int] | None) -> set[int]:
    """The tokens that end an answer, as a generation config tells them: one, several or none."""
    if isinstance(told, list):
        return set(told)
    return set() if told is None else {told}


def set_mode(model: Any, *, training: bool) -> None:
    """Puts the model into training or evaluation mode, all but its int8 layers, which stay in training mode.

    On a CPU bitsandbytes' int8 layers are two different functions in the two modes, about 3 % apart; the model must be
    scored as it was tuned.
    """
    model.train(training)
    for module in model.modules():
        if type(module).__name__ == "Linear8bitLt":
            module.training = True


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keeps harmless chatter of the libraries off the screen while weights load."""
    level, bars = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=FutureWarning)
            yield
    finally:
        transformers_logging.set_verbosity(level)
        if bars:  # else it is a block within another
            transformers_logging.enable_progress_bar()
