"""Frozen embeddings of tweets: the mean of a model's last hidden states, for a classifier on top of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from tqdm import tqdm
from transformers import AutoModel, AutoTokenizer, PreTrainedTokenizerBase

from pipeline.errors import PipelineError, first_line
from pipeline.model.base import folder_fingerprint
from pipeline.model.decoding import Classifier
from pipeline.model.loading import place, quiet, set_mode
from pipeline.text import clean

_LONGEST = 128  # tokens of a tweet
_BATCH_ROWS = 16


@dataclass(frozen=True)
class Embedder:
    """A model without a head, and its tokenizer.

    ``longest`` is how many tokens of a text it reads, ``origin`` what a report says of it.
    """

    model: Any
    tokenizer: PreTrainedTokenizerBase
    longest: int
    origin: Mapping[str, str]

    def embed(self, texts: Sequence[str], *, progress: str | None = None) -> NDArray[np.float32]:
        """The mean of the last hidden states over each text's tokens, shape ``(n, size)``, in the order given."""
        encoded = [
            self.tokenizer(
                clean(text)[: _LONGEST * 16] or " ", truncation=True, max_length=self.longest, split_special_tokens=True
            )
            for text in texts
        ]
        order = sorted(range(len(texts)), key=lambda i: -len(encoded[i]["input_ids"]))
        found: dict[int, NDArray[np.float32]] = {}
        bar = tqdm(total=len(texts), desc=progress, unit="tweet", leave=None, disable=None if progress else True)
        with torch.inference_mode(), bar:
            for start in range(0, len(order), _BATCH_ROWS):
                batch = order[start : start + _BATCH_ROWS]
                inputs = self.tokenizer.pad([encoded[i] for i in batch], return_tensors="pt").to(self.model.device)
                hidden = self.model(**inputs).last_hidden_state.float()  # (B, L, size)
                weights = inputs["attention_mask"].unsqueeze(-1).float()
                means = (hidden * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1)
                found |= dict(zip(batch, means.cpu().numpy(), strict=True))
                bar.update(len(batch))
        return np.array([found[i] for i in range(len(texts))])


def embedder_of(classifier: Classifier) -> Embedder:
    """The base model of a classifier; its adapter must be off while embedding, see ``Classifier.untuned``."""
    model = classifier.model.get_base_model().base_model
    return Embedder(model, classifier.encoder.tokenizer, _LONGEST, {"name": "base"})


def load_embedder(name: str, device: str) -> Embedder:
    """A sentence encoder from a folder or the hub, in fp32, from safetensors only and without code of its own.

    ``device`` may be auto.

    Raises:
        PipelineError: it cannot be loaded, some of its weights are missing, or it does not give hidden states of texts.
    """
    device = place("fp32", device).device
    try:
        with quiet():
            model, found = AutoModel.from_pretrained(
                name, use_safetensors=True, trust_remote_code=False, dtype=torch.float32, output_loading_info=True
            )
            tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=False)
    except (OSError, ValueError, KeyError, ImportError, RuntimeError, SafetensorError) as error:
        raise PipelineError(
            f"--embeddings {name}: expected base, none, or a sentence encoder (a folder or a hub id); "
            f"{first_line(error)}"
        ) from error
    absent = [key for key in map(str, found["missing_keys"]) if not key.startswith("pooler.")]  # not used here
    if absent:
        raise PipelineError(f"--embeddings {name}: expected weights for every layer; {absent[0]} is missing")
    model.to(device)
    set_mode(model, training=False)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
    limits = (tokenizer.model_max_length, getattr(model.config, "max_position_embeddings", None))
    longest = min(_LONGEST, *(limit for limit in limits if limit))
    local = {"fingerprint": folder_fingerprint(Path(name))} if Path(name).is_dir() else {}
    embedder = Embedder(model, tokenizer, longest, {"name": name, **local})
    try:  # before hours of decoding
        embedder.embed(["a", "word " * _LONGEST])
    except Exception as error:
        raise PipelineError(
            f"--embeddings {name}: expected a model that reads a text by itself; {first_line(error)}"
        ) from error
    return embedder
