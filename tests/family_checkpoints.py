"""A random checkpoint of each family: its real architecture and its real prompt, with a small vocabulary."""

import json
from pathlib import Path
from typing import Any

from conftest import SMALL

CHAT_ML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
# What the makers' templates come to for one question, written anew.
PHI4 = (
    "{% for m in messages %}<|im_start|>{{ m.role }}<|im_sep|>{{ m.content }}<|im_end|>{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant<|im_sep|>{% endif %}"
)
LLAMA3 = (
    "<|begin_of_text|>{% for m in messages %}<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n{{ m.content }}"
    "<|eot_id|>{% endfor %}{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
LLAMA2 = (
    "{% for m in messages %}{% if m.role == 'system' %}<s>[INST] <<SYS>>\n{{ m.content }}\n<</SYS>>\n\n"
    "{% elif m.role == 'user' %}{% if loop.first or loop.previtem.role != 'system' %}<s>[INST] {% endif %}"
    "{{ m.content }} [/INST]{% else %} {{ m.content }} </s>{% endif %}{% endfor %}"
)
DEEPSEEK = (
    "<｜begin▁of▁sentence｜>{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system') }}"
    "{% elif m.role == 'user' %}User: {{ m.content }}\n\n{% else %}Assistant: {{ m.content }}<｜end▁of▁sentence｜>"
    "{% endif %}{% endfor %}{% if add_generation_prompt %}Assistant:{% endif %}"
)
_GLM = {"head_dim": 8, "attention_bias": True, "partial_rotary_factor": 0.5, "converted_from": "chatglm3"}
# Name of the family: kind of model and its settings, control tokens, chat template, how a text ends.
CHECKPOINTS: dict[str, tuple[str, dict[str, Any], list[str], str | None, str]] = {
    "alpaca": ("llama", {}, [], None, "<|im_end|>"),
    "baichuan2": (
        "llama", {"converted_from": "baichuan2"}, ["<reserved_106>", "<reserved_107>", "</s>"], None, "</s>",
    ),
    "chatglm3": (
        "glm", _GLM, ["[gMASK]", "<sop>", "<|system|>", "<|user|>", "<|assistant|>", "</s>"], None, "</s>",
    ),
    "phi4": ("phi3", {}, ["<|im_sep|>"], PHI4, "<|im_end|>"),
    "llama3-chat": (
        "llama", {}, ["<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|end_of_text|>"],
        LLAMA3, "<|end_of_text|>",
    ),
    "llama2-chat": ("llama", {}, ["<s>", "</s>"], LLAMA2, "</s>"),
    "deepseek-chat": (
        "llama", {}, ["<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>"], DEEPSEEK, "<｜end▁of▁sentence｜>",
    ),
    "chat": ("qwen2", {}, [], CHAT_ML, "<|im_end|>"),
}  # fmt: skip
# What the tokenizers of some put before any text themselves, as the real ones do.
STARTS = {
    "chatglm3": ["[gMASK]", "<sop>"],
    "llama3-chat": ["<|begin_of_text|>"],
    "llama2-chat": ["<s>"],
    "deepseek-chat": ["<｜begin▁of▁sentence｜>"],
}


def write_checkpoint(name: str, folder: Path, tiny_llama: Path) -> Path:
    """A folder with a random model of a family and its tokenizer, that of the tiny LLaMA with more control tokens."""
    import torch
    from tokenizers.processors import TemplateProcessing
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    kind, settings, tokens, template, end = CHECKPOINTS[name]
    tokenizer = AutoTokenizer.from_pretrained(tiny_llama)
    tokenizer.add_special_tokens({"additional_special_tokens": tokens})
    tokenizer.eos_token = tokenizer.pad_token = end
    tokenizer.chat_template = template
    if start := STARTS.get(name):
        ids = [(token, tokenizer.convert_tokens_to_ids(token)) for token in start]
        tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single=[*start, "$A"], special_tokens=ids)
    torch.manual_seed(0)
    sizes = SMALL | {"vocab_size": len(tokenizer), "eos_token_id": tokenizer.eos_token_id}
    AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **sizes, **settings)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    assert json.loads((folder / "config.json").read_text())["model_type"] == kind
    return folder
