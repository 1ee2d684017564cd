"""The card of an exported model: how it is asked, with a program to copy, and what its run is worth."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pipeline.scoring.data_card import inline
from pipeline.scoring.model_card import LIMITS, LIMITS_UNSCORED, alarms_of, head_of, model_index, worth_of
from pipeline.task import Task

Form = Literal["merged", "adapter", "gguf"]

_LIBRARIES = {"merged": "transformers", "adapter": "peft", "gguf": "gguf"}
_EXAMPLE = "so happy, what a day"
_LOADING = {
    "merged": """import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

FOLDER = "."  # this folder, or its name on the hub
tokenizer = AutoTokenizer.from_pretrained(FOLDER)
model = AutoModelForCausalLM.from_pretrained(FOLDER, dtype=torch.float32)
""",
    "adapter": """{os}import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

BASE = {base}{hint}
FOLDER = "."  # this folder, or its name on the hub
tokenizer = AutoTokenizer.from_pretrained(BASE)
model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(BASE, dtype=torch.float32), FOLDER).float()
""",
}
_ASKING = """BEFORE = {before}
AFTER = {after}
END = {end}


def encode(tweet):  # what looks like a control token in a tweet is plain text
    ids = tokenizer(tweet.strip(), add_special_tokens=False, split_special_tokens=True)["input_ids"]
    return BEFORE + ids + AFTER


def classify(tweet):
    prompt = torch.tensor([encode(tweet)])
    answer = model.generate(
        input_ids=prompt,
        attention_mask=torch.ones_like(prompt),
        do_sample=False,
        max_new_tokens={tokens},
        eos_token_id=END,
    )
    written = [token for token in answer[0, prompt.shape[1] :].tolist() if token != END]
    return tokenizer.decode(written, skip_special_tokens=True).strip()


print(classify({example}))"""
_LLAMA_CPP = """from llama_cpp import Llama

BEFORE = {before}
AFTER = {after}
model = Llama("{file}", n_ctx=1024, verbose=False)


def classify(tweet):
    answer = model.create_completion(
        BEFORE + tweet.strip() + AFTER, temperature=0, repeat_penalty=1.0, max_tokens={tokens}
    )
    return answer["choices"][0]["text"].strip()


print(classify({example}))"""


@dataclass(frozen=True)
class Exported:
    """What a card tells of an export besides scores.

    ``base_model`` is its name as others know it, ``base_origin`` where the same weights are found, and ``on_hub``
    whether the name is the id of a model there; ``weights`` are the numbers that were written; ``before`` and ``after``
    are the ids of the prompt around a tweet, and ``end`` that of the token that ends an answer; ``answer_tokens`` is
    how long one may be; ``parity`` is the entry of ``parity.json``, None where no tweets were there to compare on;
    ``file`` is the name of a GGUF file, and ``start`` the part of its prompt that llama.cpp puts there itself.
    """

    form: Form
    title: str
    task: Task
    base_model: str
    base_origin: str
    on_hub: bool
    weights: str
    before: Sequence[int]
    after: Sequence[int]
    end: int
    answer_tokens: int
    parity: Mapping[str, Any] | None
    file: str = ""
    start: str = ""


def render_export_card(exported: Exported, metrics: Mapping[str, Any] | None, data: Mapping[str, Any] | None) -> str:
    """``README.md`` for an exported model.

    Args:
        exported: what it is.
        metrics: of a report on its run; None where there is none.
        data: the manifest of the data that it was tuned on; None where it is not known.
    """
    head: dict[str, Any] = {
        **({"base_model": exported.base_model} if exported.on_hub else {}),
        "library_name": _LIBRARIES[exported.form],
        **({} if exported.form == "gguf" else {"pipeline_tag": "text-generation"}),
        "tags": [*(["lora"] if exported.form == "adapter" else []), "sentiment-analysis"],
    }
    worth = ["## What it is worth\n\nThis card was written without a report: nothing is known of how good it is."]
    if metrics is not None:
        head["model-index"] = model_index(metrics, exported.title, data or {})
        worth = worth_of(metrics)
    known = "## Before you trust a score\n\nNothing is known here of the data that it was tuned on."
    parts = [
        head_of(head),
        f"# {inline(exported.title)}",
        _what(exported),
        known if data is None else alarms_of(data),
        *worth,
        _prompt(exported),
        _program(exported),
        LIMITS_UNSCORED if metrics is None else LIMITS,
    ]
    return "\n\n".join(parts) + "\n"


def _what(exported: Exported) -> str:
    base = f"{inline(exported.base_model)} ({inline(exported.base_origin, 200)})"
    what = {
        "merged": f"{base} with a LoRA adapter merged into its weights ({exported.weights}).",
        "adapter": f"A LoRA adapter for {base}, for PEFT.",
        "gguf": f"{base} with a LoRA adapter merged into its weights, as GGUF ({exported.weights}).",
    }[exported.form]
    if exported.parity is None:
        return f"{what} It was not compared with the run that it was made of: no tweets were there."
    rows, flips = exported.parity["rows"], exported.parity["flips"]
    return (
        f"{what} Loaded again and asked {rows:,} tweets, it gave another label than the run that it was made of for "
        f"{flips['generate']} of them by its greedy answer, and for {flips['loglikelihood']} by the likeliest label."
    )


def _prompt(exported: Exported) -> str:
    task = exported.task
    prompt = task.prompt("{tweet}")
    labels = ", ".join(inline(label) for label in task.labels)
    if isinstance(task.template, str):
        form = "There is no chat and no system prompt"
    else:
        form = (
            "It is the chat form of its family, control tokens written out, with the instruction as the system's text "
            "where that form has one; put it into no chat template again"
        )
    end = "the token that ends a text" if task.end is None else f"the token {inline(task.end)}"
    have = "has it to the letter" if exported.form == "gguf" else "has its tokens"
    return (
        "## How it is asked\n\n"
        f"It was tuned on this prompt and no other, with the tweet in place of `{{tweet}}`. {form}; the program below "
        f"{have}:\n\n"
        f"{_fenced(str(prompt), 'text')}\n\n"
        f"It answers with one of {labels}, and then with {end}. Take the whole answer for a label "
        "or for none. Tweets are given as people read them: HTML entities such as `&amp;` decoded, invisible and "
        "control characters removed, Unicode in form NFC, no white space at the ends."
    )


def _program(exported: Exported) -> str:
    values = {"tokens": exported.answer_tokens, "example": _python(_EXAMPLE)}
    if exported.form == "gguf":
        prompt = exported.task.prompt("")
        before, after = _python(prompt.before.removeprefix(exported.start)), _python(prompt.after)
        program = _LLAMA_CPP.format(**values, before=before, after=after, file=exported.file)
        said = f"llama.cpp puts `{exported.start}` before it itself.\n\n" if exported.start else ""
        return f"## A program\n\n{said}" + _fenced(program, "python")
    base = _python(exported.base_model if exported.on_hub else f"path/to/{exported.base_model}")
    loading = _LOADING[exported.form].replace("{base}", base)
    loading = loading.replace("{os}", "" if exported.on_hub else "import os\n\n")
    program = loading.replace("{hint}", "" if exported.on_hub else _HINT) + _ASKING.format(
        **values, before=list(exported.before), after=list(exported.after), end=exported.end
    )
    said = "" if exported.on_hub or exported.form == "merged" else _NO_ID
    return f"## A program\n\n{said}" + _fenced(program, "python")


_HINT = """  # put the folder of the base model here
assert os.path.isdir(BASE), f"no such folder: {BASE}"
""".rstrip()
_NO_ID = """The base model has no name on a hub: put the path of its folder where the program has `BASE`. On the
machine where the adapter was tuned `pipeline.export` says where that is. Another model of a
similar name is another model.

"""


def _python(text: str) -> str:
    """The text as Python writes it, in one line."""
    return json.dumps(text, ensure_ascii=False)


def _fenced(text: str, language: str) -> str:
    """A block of code, fenced with more backticks than any run in it."""
    fence = "`" * max(3, 1 + max(map(len, re.findall(r"`+", text)), default=0))
    return f"{fence}{language}\n{text.rstrip(chr(10))}\n{fence}"
