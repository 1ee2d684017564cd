"""Families of base models: how each wants to be asked, all in one table.

A family is recognised by what stands in a checkpoint: its kind, its control tokens, its chat template. Its prompt is
written in pieces: a tokenizer sees each alone, control tokens in a piece are control tokens (in a tweet or in the
instruction never), and none is added that is not written there.
"""

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pipeline.errors import PipelineError, first_line
from pipeline.task import Task

Name = Literal["alpaca", "baichuan2", "chatglm3", "phi4", "llama2-chat", "llama3-chat", "deepseek-chat", "chat"]

# What control tokens look like in the table.
_CONTROL = re.compile(r"<[|｜][^|｜]+[|｜]>|<reserved_\d+>|\[gMASK\]|<sop>|</?s>")


@dataclass(frozen=True)
class Family:
    """One row of the table.

    ``prompt`` None leaves the task's own template, Alpaca's unless the user has another; () takes the chat template of
    the tokenizer. ``before_label`` stands between prompt and label, ``end`` is the control token that ends an answer
    (None: the tokenizer's end of sequence). ``turn`` is what stands between two tweets of a chat, with a slot for the
    label that answers the first. The signs, ``model_type``, ``converted_from``, ``control`` (a token) and
    ``in_chat_template``, must all hold.
    """

    prompt: tuple[str, ...] | None
    before_label: str = ""
    end: str | None = None
    turn: tuple[str, ...] | None = None
    model_type: str | None = None
    converted_from: str | None = None
    control: str | None = None
    in_chat_template: str | None = None

    def shows_in(self, config: Mapping[str, Any], tokenizer: Any) -> bool:
        """Whether a checkpoint has the signs of this family."""
        signs = (
            (self.model_type, lambda sign: config.get("model_type") == sign),
            (self.converted_from, lambda sign: config.get("converted_from") == sign),
            (self.control, lambda sign: sign in tokenizer.get_added_vocab()),
            (self.in_chat_template, lambda sign: sign in _chat_template(tokenizer)),
        )
        return all(holds(sign) for sign, holds in signs if sign is not None) and not self.lacks(tokenizer)

    def lacks(self, tokenizer: Any) -> list[str]:
        """Control tokens of the prompt, of its end and of further turns that a tokenizer does not have."""
        needed = _CONTROL.findall("".join([*(self.prompt or ()), *(self.turn or ()), self.end or ""]))
        return sorted(set(needed) - tokenizer.get_added_vocab().keys())


# The first row that shows is taken. Weights are read in bf16 or fp32 whatever they are stored in; decoding pads on the
# left, training does not pad, and no loss goes by the padding token, which is the end token of some: so nothing of that
# differs. Prompts as their makers give them: see docs/families.md.
FAMILIES: dict[Name, Family] = {
    "baichuan2": Family(
        # Baichuan2-7B, converted by pipeline.convert
        prompt=("{instruction}", "<reserved_106>", "{input}", "<reserved_107>"),
        turn=("<reserved_107>", "{label}", "<reserved_106>"),
        converted_from="baichuan2",
    ),
    "chatglm3": Family(
        # ChatGLM3-6B, converted by pipeline.convert
        # Its tokenizer puts a space before each text: the line break is one of its own, before the answer as well.
        prompt=(
            "[gMASK]<sop><|system|>",
            "\n",
            "{instruction}",
            "<|user|>",
            "\n",
            "{input}",
            "<|assistant|>",
            "\n",
        ),
        turn=("<|assistant|>", "\n", "{label}", "<|user|>", "\n"),
        converted_from="chatglm3",
    ),
    "phi4": Family(
        # Phi-4
        prompt=(
            "<|im_start|>system<|im_sep|>{instruction}<|im_end|><|im_start|>user<|im_sep|>{input}<|im_end|>"
            "<|im_start|>assistant<|im_sep|>",
        ),
        turn=("<|im_end|><|im_start|>assistant<|im_sep|>{label}<|im_end|><|im_start|>user<|im_sep|>",),
        end="<|im_end|>",
        model_type="phi3",
        control="<|im_sep|>",
    ),
    "llama3-chat": Family(
        # Llama 3 Instruct
        prompt=(
            "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\n{instruction}<|eot_id|>"
            "<|start_header_id|>user<|end_header_id|>\n\n{input}<|eot_id|>"
            "<|start_header_id|>assistant<|end_header_id|>\n\n",
        ),
        turn=(
            "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n{label}<|eot_id|>"
            "<|start_header_id|>user<|end_header_id|>\n\n",
        ),
        end="<|eot_id|>",
        model_type="llama",
        control="<|eot_id|>",
        in_chat_template="<|start_header_id|>",
    ),
    "llama2-chat": Family(
        # Llama 2 chat
        prompt=("<s>[INST] <<SYS>>\n{instruction}\n<</SYS>>\n\n{input} [/INST]",),
        turn=(" [/INST] {label} </s><s>[INST] ",),
        model_type="llama",
        in_chat_template="<<SYS>>",
    ),
    "deepseek-chat": Family(
        # DeepSeek-LLM chat
        # It knows no system prompt.
        prompt=("<｜begin▁of▁sentence｜>User: {instruction}\n\n{input}\n\nAssistant:",),
        turn=("\n\nAssistant: {label}<｜end▁of▁sentence｜>User: ",),
        before_label=" ",
        end="<｜end▁of▁sentence｜>",
        model_type="llama",
        control="<｜begin▁of▁sentence｜>",
        in_chat_template="Assistant:",
    ),
    # Any other with a chat template: Qwen, SmolLM2, ...
    "chat": Family(prompt=(), in_chat_template="{"),
    # LLaMA and every model without a chat template
    "alpaca": Family(prompt=None),
}


def recognise(config: Mapping[str, Any], tokenizer: Any) -> Name:
    """Name of the family that a checkpoint belongs to.

    Args:
        config: the checkpoint's ``config.json``.
        tokenizer: of transformers.
    """
    return next(name for name, family in FAMILIES.items() if family.shows_in(config, tokenizer))


def asked_as(task: Task, name: Name, tokenizer: Any) -> Task:
    """The task with the prompt, and the answers, of a family.

    Args:
        task: with the prompt of instruction JSON.
        name: of the family.
        tokenizer: of transformers.

    Raises:
        PipelineError: the tokenizer does not have what the family needs.
    """
    family = FAMILIES[name]
    if family.prompt is None:
        return task
    if not family.prompt:
        return _as_in_chat(task, tokenizer)
    if missing := family.lacks(tokenizer):
        raise PipelineError(
            f"--family {name}: expected a tokenizer with the control token{'s' * (len(missing) > 1)} "
            f"{', '.join(missing)}; this one is of another family, leave --family out to recognise it"
        )
    return dataclasses.replace(
        task, template=family.prompt, before_label=family.before_label, end=family.end, turn=family.turn
    )


def _turn_of(tokenizer: Any, messages: list[dict[str, str]], tweet: str, answer: str) -> tuple[str, ...] | None:
    """What a chat template puts between the tweet at the end of these messages and a next one; None where it cannot."""
    following = "FOLLOWING-SLOT"
    try:
        several = tokenizer.apply_chat_template(
            [*messages, {"role": "assistant", "content": answer}, {"role": "user", "content": following}],
            tokenize=False,
            add_generation_prompt=True,
            enable_thinking=False,
        )
    except Exception:  # templates are programs, which raise what they like
        return None
    found = re.search(f"{tweet}(.*){following}", several, re.DOTALL)
    return (found[1].replace(answer, "{label}"),) if found and found[1].count(answer) == 1 else None


def _chat_template(tokenizer: Any) -> str:
    templates = getattr(tokenizer, "chat_template", None) or ""
    template = templates.get("default", "") if isinstance(templates, dict) else templates
    return str(template)


def _as_in_chat(task: Task, tokenizer: Any) -> Task:
    """The task as the tokenizer's own chat template has it, taken apart by words that stand in for what comes there."""
    if not _chat_template(tokenizer):
        raise PipelineError("--family chat: expected a tokenizer with a chat template, got none; use --family alpaca")
    instruction, tweet, answer = "INSTRUCTION-SLOT", "TWEET-SLOT", "ANSWER-SLOT"
    # Some know no system prompt, and refuse it or leave it out.
    system = [{"role": "system", "content": instruction}, {"role": "user", "content": tweet}]
    user = [{"role": "user", "content": f"{instruction}\n\n{tweet}"}]
    why = "it leaves them out"
    for messages in (system, user):
        try:
            # A label needs no thoughts; templates that know none pass over the word.
            asked, answered = (
                tokenizer.apply_chat_template(
                    each, tokenize=False, add_generation_prompt=each is messages, enable_thinking=False
                )
                for each in (messages, [*messages, {"role": "assistant", "content": answer}])
            )
        except Exception as error:  # templates are programs, which raise what they like
            why = first_line(error)
            continue
        if asked.count(instruction) == asked.count(tweet) == answered.count(answer) == 1:
            start, rest = answered.split(answer)
            # Where they part, an answer begins otherwise than the prompt for it ends, as with thoughts: what was
            # answered is what the model has learnt from. All but white space before the label is part of the prompt.
            asked = asked if start.startswith(asked) and not start.removeprefix(asked).strip() else start
            template = asked.rstrip(" ") if asked == start else asked
            before_label = start.removeprefix(template)
            if not template.count(instruction) == template.count(tweet) == 1:
                continue
            added = [token for token in tokenizer.get_added_vocab() if token in rest]
            return dataclasses.replace(
                task,
                template=(template.replace(instruction, "{instruction}").replace(tweet, "{input}"),),
                before_label=before_label,
                end=min(added, key=rest.index, default=None),
                turn=_turn_of(tokenizer, messages, tweet, answer),
            )
    raise PipelineError(
        f"--family chat: expected a chat template with a place for a question and an answer; {why}; use --family alpaca"
    )
