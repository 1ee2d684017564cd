"""vLLM's part is played by transformers here, through the few names of its interface that are used."""

import sys
import types
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from conftest import make_rows
from transformers import AutoModelForCausalLM

from pipeline.artifacts import Run
from pipeline.errors import PipelineError
from pipeline.model.classifier import load_classifier
from pipeline.model.vllm_engine import load_for_vllm


class SamplingParams:
    """The options that are used, and no others: a misspelt one is a TypeError here as there."""

    def __init__(
        self, *, temperature: float, max_tokens: int, detokenize: bool, logprob_token_ids: list[int] | None = None
    ) -> None:
        assert temperature == 0
        assert not detokenize
        self.max_tokens, self.logprob_token_ids = max_tokens, logprob_token_ids


class LLM:
    """Greedy, one prompt at a time; the log-probabilities are those that were asked for, as vLLM returns them."""

    def __init__(self, model: str, *, dtype: str, max_model_len: int, enable_prefix_caching: bool, seed: int) -> None:
        assert dtype == "bfloat16"
        assert enable_prefix_caching
        self._longest = max_model_len
        self._model = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)

    def generate(self, asked: list[dict[str, list[int]]], sampling: SamplingParams, *, use_tqdm: bool) -> list[Any]:
        return [SimpleNamespace(outputs=[self._one(each["prompt_token_ids"], sampling)]) for each in asked]

    def _one(self, prompt: list[int], sampling: SamplingParams) -> Any:
        ids, first = list(prompt), None
        for _ in range(sampling.max_tokens):
            assert len(ids) < self._longest
            with torch.inference_mode():
                logits = torch.log_softmax(self._model(torch.tensor([ids])).logits[0, -1].float(), dim=-1)
            first = logits if first is None else first
            ids.append(int(logits.argmax()))
            if ids[-1] == self._model.config.eos_token_id:
                break
        assert first is not None
        chosen = {t: SimpleNamespace(logprob=float(first[t])) for t in sampling.logprob_token_ids or ()}
        return SimpleNamespace(token_ids=ids[len(prompt) :], logprobs=[chosen])


@pytest.fixture
def vllm(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("vllm")
    module.__dict__.update(LLM=LLM, SamplingParams=SamplingParams)
    monkeypatch.setitem(sys.modules, "vllm", module)


@pytest.mark.usefixtures("vllm")
def test_it_reads_what_our_own_engine_reads(easy_run: Path) -> None:
    # Some are answered with a label, some with something else.
    texts = [*(row.input for row in make_rows(6, start=600)), "", "?! 🚀", "the the the", "zzz 999 " * 30]
    run = Run.load(easy_run)
    ours, _ = load_classifier(run, precision="fp32")
    theirs, placement = load_for_vllm(run)
    assert placement.precision == "bf16"
    expected = ours.decode(texts)
    for a, b in zip(theirs.decode(texts), expected, strict=True):
        assert (a.completion, a.generate, a.shortened) == (b.completion, b.generate, b.shortened)
        assert a.log_likelihoods == pytest.approx(b.log_likelihoods, abs=0.2, rel=0.05)  # its weights are in bf16


def test_without_vllm_it_says_what_to_install(easy_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(PipelineError, match="--engine vllm: expected the package vllm; pip install vllm"):
        load_for_vllm(Run.load(easy_run))
