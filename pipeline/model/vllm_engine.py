"""A run's labels by vLLM, for many GPUs' worth of tweets: the same readings as ``decoding``, of the merged model.

Every prompt, and every prompt with a beginning of a label behind it, is a request for one token and for the
log-probabilities of the tokens that labels have there. Prompts go first: what they computed is in vLLM's cache of
prefixes when the others come. The only home of vllm.
"""

import tempfile
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import torch

from pipeline.artifacts import Run, read_json
from pipeline.errors import PipelineError, first_line
from pipeline.model.decoding import Decoded
from pipeline.model.encoding import Encoder
from pipeline.model.loading import Placement, ends_of
from pipeline.model.merging import write_merged
from pipeline.model.trie import LabelTrie


class VllmClassifier:
    """The decoding of tweets into labels as ``Classifier`` does it, computed by vLLM."""

    def __init__(self, model: Any, encoder: Encoder, ends: Collection[int] = ()) -> None:
        """``model`` is a ``vllm.LLM`` of the merged run; ``ends`` are further tokens that end an answer."""
        self._model = model
        self.encoder = encoder
        self.labels = encoder.task.labels
        self._trie = LabelTrie([encoder.completions[label] for label in self.labels])
        self._ends = {encoder.end, *ends}

    def decode(self, texts: Sequence[str], *, progress: str | None = None) -> list[Decoded]:
        """Both readings of every tweet, in the order given; ``progress`` is not shown here."""
        prompts = self.encoder.prompts(texts)
        rows = [prompt.ids for prompt in prompts]
        places = [self._one_token(rows, place) for place in range(len(self._trie))]
        results = []
        elsewhere = []
        for i, prompt in enumerate(prompts):
            chosen, likely = zip(*(found[i] for found in places), strict=True)
            written = self._trie.follow(chosen, self._ends)
            if written is None:
                elsewhere.append(i)
            scores = tuple(sum(likely[place][token] for place, token in path) for path in self._trie.paths)
            results.append((written, scores, prompt.shortened))
        others = dict(zip(elsewhere, self._write([rows[i] for i in elsewhere]), strict=True))
        decoded = []
        for i, (written, scores, shortened) in enumerate(results):
            completion = self.encoder.tokenizer.decode(others[i] if written is None else written)
            decoded.append(Decoded(completion, self.encoder.task.parse(completion), scores, self.labels, shortened))
        return decoded

    def _one_token(self, rows: Sequence[list[int]], place: int) -> list[tuple[int, dict[int, float]]]:
        """For every prompt, at one place of the tree: the likeliest token, and log-probabilities of labels' tokens."""
        tokens = sorted({token for path in self._trie.paths for at, token in path if at == place})
        beginning = list(self._trie.beginnings[place])
        found = self._ask([row + beginning for row in rows], max_tokens=1, logprob_token_ids=tokens)
        return [
            (int(each.token_ids[0]), {token: float(each.logprobs[0][token].logprob) for token in tokens})
            for each in found
        ]

    def _write(self, rows: Sequence[list[int]]) -> list[list[int]]:
        """Greedy completions, without what ends them."""
        found = self._ask(rows, max_tokens=self.encoder.longest_completion + 2) if rows else []
        return [[token for token in each.token_ids if token not in self._ends] for each in found]

    def _ask(self, rows: Sequence[list[int]], **options: Any) -> list[Any]:
        from vllm import SamplingParams

        sampling = SamplingParams(temperature=0.0, detokenize=False, **options)
        asked = [{"prompt_token_ids": row} for row in rows]
        return [each.outputs[0] for each in self._model.generate(asked, sampling, use_tqdm=False)]


def load_for_vllm(run: Run) -> tuple[VllmClassifier, Placement]:
    """The classifier that a run has tuned, merged in bf16 and loaded by vLLM on the device that it was built for.

    Raises:
        PipelineError: vllm is missing, or cannot load the model.
    """
    try:
        import vllm
    except ImportError as error:
        raise PipelineError(
            "--engine vllm: expected the package vllm; pip install vllm, in an environment of its own"
        ) from error
    with tempfile.TemporaryDirectory() as folder:
        encoder = write_merged(run, Path(folder), "bf16")
        try:
            model = vllm.LLM(
                folder,
                dtype="bfloat16",
                max_model_len=encoder.max_length + 2,  # a completion may be so much longer than any label
                enable_prefix_caching=True,
                seed=0,
            )
        except (RuntimeError, ValueError, OSError) as error:
            raise PipelineError(f"--engine vllm: it cannot load the model; {first_line(error)}") from error
        ends = read_json(Path(folder) / "generation_config.json").get("eos_token_id")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    classifier = VllmClassifier(model, encoder, ends_of(ends))
    return classifier, Placement(device, "bf16", torch.bfloat16)
