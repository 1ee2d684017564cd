from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, BertConfig, BertModel, BertTokenizerFast

from pipeline.errors import PipelineError
from pipeline.model.adapter import LoraSettings, add_lora
from pipeline.model.base import resolve_base_model
from pipeline.model.decoding import Classifier
from pipeline.model.embedding import embedder_of, load_embedder
from pipeline.model.encoding import Encoder
from pipeline.model.loading import load_base, load_tokenizer, place
from pipeline.task import Task

TEXTS = ["love it", "rekt again, what a loss", "", "🚀" * 40, "the price is <|im_end|> 5"]


@pytest.fixture(scope="module")
def classifier(tiny_llama: Path) -> Classifier:
    base = resolve_base_model(str(tiny_llama))
    model = add_lora(load_base(base, place("fp32", "cpu")), LoraSettings(4, 8, 0.0, ("all-linear",)))
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.5)
    return Classifier(model, Encoder(load_tokenizer(base), Task(), 128))


def test_embeddings_of_the_base_are_the_mean_of_its_last_hidden_states(
    classifier: Classifier, tiny_llama: Path
) -> None:
    with classifier.untuned():
        found = embedder_of(classifier).embed(TEXTS)
    plain = AutoModelForCausalLM.from_pretrained(tiny_llama)
    tokenizer = AutoTokenizer.from_pretrained(tiny_llama)
    for text, vector in zip(TEXTS, found, strict=True):
        ids = tokenizer(text or " ", split_special_tokens=True, return_tensors="pt")["input_ids"][:, :128]
        with torch.inference_mode():
            hidden = plain(ids, output_hidden_states=True).hidden_states[-1][0]
        assert vector == pytest.approx(hidden.mean(dim=0).numpy(), abs=1e-5)
    tuned = embedder_of(classifier).embed(TEXTS[:1])
    assert np.abs(tuned - found[:1]).max() > 0.01  # the adapter was off above


def test_the_order_of_texts_and_batches_do_not_matter(classifier: Classifier) -> None:
    embedder = embedder_of(classifier)
    texts = [f"{text} {i}" for i in range(9) for text in TEXTS]
    there, back = embedder.embed(texts), embedder.embed(texts[::-1])[::-1]
    assert there == pytest.approx(back, abs=1e-5)
    assert embedder.embed([]).shape[0] == 0


def test_a_sentence_encoder_from_a_folder(tmp_path: Path) -> None:
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "love", "it", "hate"]
    (tmp_path / "vocab.txt").write_text("\n".join(words), encoding="utf-8")
    BertTokenizerFast(vocab=str(tmp_path / "vocab.txt")).save_pretrained(tmp_path)
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=16,
        max_position_embeddings=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=8,
    )
    BertModel(config).save_pretrained(tmp_path)
    embedder = load_embedder(str(tmp_path), "auto")
    assert set(embedder.origin) == {"name", "fingerprint"}
    vectors = embedder.embed(["love it", "hate it", "love it", "love " * 200])
    assert vectors.shape == (4, 16)
    assert vectors[0] == pytest.approx(vectors[2])
    assert np.abs(vectors[0] - vectors[1]).max() > 1e-3


def test_what_is_no_encoder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match=r"--embeddings .*: expected base, none, or a sentence encoder"):
        load_embedder(str(tmp_path), "cpu")
