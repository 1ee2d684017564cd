"""What each program does, in a process and an environment of its own: it loads the model, then labels the tweets.

Only ``ours`` uses this project's model code. The others import what they need themselves: no environment has it all.
"""

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from typing import Any

from benchmarks.jobs import serve

# What a program makes of the tweets: ``written``, the greedy answers as they are; ``ranked``, the most probable labels.
Answers = Mapping[str, Sequence[str]]
_TUTORIAL_TOKENS = 128  # as Alpaca-LoRA's own generate.py allows


def label(order: Mapping[str, Any]) -> dict[str, Any]:
    """The answers of one program, and the seconds from the first text to the last answer, without loading.

    The order has ``program`` and its ``settings``, ``texts``, the ``prompts`` that they make, the ``labels``, and where
    the models are: ``model`` and ``adapter``, ``merged``, ``run``, ``gguf``. ``longest`` is that of a label in tokens,
    ``context`` that of a prompt and what may be written behind it.
    """
    work = _PROGRAMS[order["program"]](order)
    start = time.perf_counter()
    answers = work()
    return {"seconds": time.perf_counter() - start, **answers}


def _tutorial(order: Mapping[str, Any]) -> Callable[[], Answers]:
    """One tweet at a time through PEFT's model, in fp32."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(order["model"])
    base = AutoModelForCausalLM.from_pretrained(order["model"], dtype=torch.float32)
    model = PeftModel.from_pretrained(base, order["adapter"]).eval()

    def work() -> Answers:
        written = []
        for prompt in order["prompts"]:
            written += _generated(model, tokenizer, tokenizer([prompt])["input_ids"], _TUTORIAL_TOKENS)
        return {"written": written}

    return work


def _generate(order: Mapping[str, Any]) -> Callable[[], Answers]:
    """Batches of tweets of like length, padded on the left, the adapter merged, in bf16."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    settings = order["settings"]
    tokenizer = AutoTokenizer.from_pretrained(order["merged"], padding_side="left")
    model = AutoModelForCausalLM.from_pretrained(
        order["merged"], dtype=torch.bfloat16, attn_implementation=settings["attention"]
    ).eval()

    def work() -> Answers:
        rows = tokenizer(order["prompts"])["input_ids"]
        longest_first = sorted(range(len(rows)), key=lambda i: -len(rows[i]))
        written = [""] * len(rows)
        for start in range(0, len(rows), settings["batch_size"]):
            batch = longest_first[start : start + settings["batch_size"]]
            answers = _generated(model, tokenizer, [rows[i] for i in batch], order["longest"] + 2)
            for i, answer in zip(batch, answers, strict=True):
                written[i] = answer
        return {"written": written}

    return work


def _generated(model: Any, tokenizer: Any, rows: Sequence[Sequence[int]], most: int) -> list[str]:
    """What the model writes greedily behind each row, at most so many tokens."""
    import torch

    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    inputs = tokenizer.pad({"input_ids": rows}, return_tensors="pt")
    with torch.inference_mode():
        ids = model.generate(
            **inputs,
            do_sample=False,
            max_new_tokens=most,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    answers: list[str] = tokenizer.batch_decode(ids[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    return answers


def _harness(order: Mapping[str, Any]) -> Callable[[], Answers]:
    """lm-evaluation-harness: how probable each label is behind each prompt."""
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    model = HFLM(pretrained=order["merged"], device="cpu", dtype="bfloat16", batch_size=order["settings"]["batch_size"])

    def work() -> Answers:
        labels = order["labels"]
        requests = [
            Instance(request_type="loglikelihood", doc={}, arguments=(prompt, each), idx=i)
            for prompt in order["prompts"]
            for i, each in enumerate(labels)
        ]
        found = [score for score, _ in model.loglikelihood(requests, disable_tqdm=True)]
        rows = [found[start : start + len(labels)] for start in range(0, len(found), len(labels))]
        return {"ranked": [labels[max(range(len(labels)), key=row.__getitem__)] for row in rows]}

    return work


def _llamacpp(order: Mapping[str, Any]) -> Callable[[], Answers]:
    """llama.cpp, one prompt at a time; what a prompt has in common with the one before it is not computed again."""
    threads, most = int(os.environ["OMP_NUM_THREADS"]), order["longest"] + 2
    complete = (_by_llama_cpp if find_spec("llama_cpp") else _by_xllamacpp)(order, threads, most)
    return lambda: {"written": [complete(prompt) for prompt in order["prompts"]]}


def _by_llama_cpp(order: Mapping[str, Any], threads: int, most: int) -> Callable[[str], str]:
    from llama_cpp import Llama

    model = Llama(order["gguf"], n_ctx=order["context"], n_threads=threads, n_threads_batch=threads, verbose=False)

    def complete(prompt: str) -> str:
        text: str = model.create_completion(prompt, max_tokens=most, temperature=0.0)["choices"][0]["text"]
        return text

    return complete


def _by_xllamacpp(order: Mapping[str, Any], threads: int, most: int) -> Callable[[str], str]:
    """The same engine from a package that comes compiled, by its server's functions; nothing goes over a network."""
    import xllamacpp

    parameters = xllamacpp.CommonParams()
    parameters.model.path = order["gguf"]
    parameters.n_ctx, parameters.n_parallel, parameters.warmup = order["context"], 1, False
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = threads
    server = xllamacpp.Server(parameters)

    def complete(prompt: str) -> str:
        asked = {"prompt": prompt, "max_tokens": most, "temperature": 0.0, "repeat_penalty": 1.0, "cache_prompt": True}
        found = server.handle_completions(asked)
        text: str = (found if isinstance(found, dict) else json.loads(found))["choices"][0]["text"]
        return text

    return complete


def _vllm(order: Mapping[str, Any]) -> Callable[[], Answers]:
    """vLLM, all prompts at once, with its cache of prefixes."""
    os.environ |= {
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # so that memory is that of one process
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",  # otherwise it takes all cores, whatever OMP_NUM_THREADS says
        "VLLM_CPU_KVCACHE_SPACE": "1",  # GiB
        "VLLM_CACHE_ROOT": f"{order['merged']}-vllm",  # what it compiles, from the trial on
    }
    from vllm import LLM, SamplingParams

    model = LLM(
        order["merged"],
        dtype="bfloat16",
        max_model_len=order["context"],
        enable_prefix_caching=True,
        enforce_eager=not order["settings"]["compiled"],
    )

    def work() -> Answers:
        sampling = SamplingParams(temperature=0.0, max_tokens=order["longest"] + 2)
        found = model.generate(order["prompts"], sampling, use_tqdm=False)
        return {"written": [each.outputs[0].text for each in found]}

    return work


def _ours(order: Mapping[str, Any]) -> Callable[[], Answers]:
    """This project's decoding; a ``max_length`` stands in for the run's own."""
    from pipeline.artifacts import Run
    from pipeline.model.classifier import load_classifier
    from pipeline.model.decoding import Classifier
    from pipeline.model.encoding import Encoder

    settings = order["settings"]
    classifier, _ = load_classifier(Run.load(order["run"]), device="cpu", **settings)
    if "max_length" in order:
        encoder = Encoder(classifier.encoder.tokenizer, classifier.encoder.task, order["max_length"])
        classifier = Classifier(classifier.model, encoder, settled=True)

    def work() -> Answers:
        found = classifier.decode(order["texts"])
        return {
            "written": [each.completion for each in found],
            "ranked": [each.loglikelihood for each in found],
        }

    return work


_PROGRAMS: Mapping[str, Callable[[Mapping[str, Any]], Callable[[], Answers]]] = {
    "tutorial": _tutorial,
    "generate": _generate,
    "harness": _harness,
    "llamacpp": _llamacpp,
    "vllm": _vllm,
    "ours": _ours,
    "ours-fp32": _ours,
}


if __name__ == "__main__":
    serve(label)
