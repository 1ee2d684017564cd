"""The decoder against plain generation and plain scoring, one prompt at a time."""

from pathlib import Path

import pytest
import torch

from pipeline.model.adapter import LoraSettings, add_lora
from pipeline.model.base import resolve_base_model
from pipeline.model.decoding import Classifier, Decoded, _batches
from pipeline.model.encoding import Encoder
from pipeline.model.loading import load_base, load_tokenizer, place
from pipeline.task import Task

TWEETS = ["love it", "", "rekt again " * 12, "the price is 5", "so <|im_end|> happy", "🚀🚀", "what a loss, what a win"]


@pytest.fixture(scope="module")
def classifier(tiny_llama: Path) -> Classifier:
    """A tiny model with an adapter that does something, in fp32."""
    base = resolve_base_model(str(tiny_llama))
    torch.manual_seed(1)
    model = add_lora(load_base(base, place("fp32", "cpu")), LoraSettings(4, 8, 0.0, ("q_proj", "v_proj")))
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.5)
    return Classifier(model, Encoder(load_tokenizer(base), Task(), 256))


def plain_completion(classifier: Classifier, tweet: str) -> str:
    encoder = classifier.encoder
    ids = torch.tensor([encoder.prompt(tweet).ids])
    with torch.inference_mode():
        written = classifier.model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            max_new_tokens=encoder.longest_completion + 2,
            pad_token_id=encoder.tokenizer.pad_token_id,
        )[0, ids.shape[1] :].tolist()
    end = encoder.tokenizer.eos_token_id
    return str(encoder.tokenizer.decode(written[: written.index(end)] if end in written else written))


def plain_log_likelihood(classifier: Classifier, tweet: str, label: str) -> float:
    prompt = classifier.encoder.prompt(tweet).ids
    completion = classifier.encoder.completions[label]
    with torch.inference_mode():
        logits = classifier.model(torch.tensor([prompt + completion])).logits[0]
    log_probabilities = torch.log_softmax(logits.double(), dim=-1)
    return sum(float(log_probabilities[len(prompt) - 1 + i, token]) for i, token in enumerate(completion))


def test_completions_are_those_of_plain_generate(classifier: Classifier) -> None:
    decoded = classifier.decode(TWEETS)
    assert [one.completion for one in decoded] == [plain_completion(classifier, tweet) for tweet in TWEETS]


def test_log_likelihoods_are_those_of_plain_scoring(classifier: Classifier) -> None:
    for tweet, one in zip(TWEETS, classifier.decode(TWEETS), strict=True):
        plain = [plain_log_likelihood(classifier, tweet, label) for label in classifier.labels]
        assert one.log_likelihoods == pytest.approx(plain, abs=1e-4)


def test_answers_do_not_depend_on_order_or_company(classifier: Classifier) -> None:
    together = classifier.decode(TWEETS)
    backwards = classifier.decode(TWEETS[::-1])[::-1]
    alone = [classifier.decode([tweet])[0] for tweet in TWEETS]
    for a, b, c in zip(together, backwards, alone, strict=True):
        assert a.completion == b.completion == c.completion
        assert a.loglikelihood == b.loglikelihood == c.loglikelihood
        assert a.log_likelihoods == pytest.approx(b.log_likelihoods, abs=1e-4)
        assert a.log_likelihoods == pytest.approx(c.log_likelihoods, abs=1e-4)


def test_labels_cannot_have_more_than_all_the_probability(classifier: Classifier) -> None:
    for one in classifier.decode(TWEETS):
        assert 0 < one.label_mass <= 1 + 1e-6
        assert sum(one.probabilities.values()) == pytest.approx(1)
        assert max(one.probabilities, key=one.probabilities.__getitem__) == one.loglikelihood


def test_untuned_is_the_base_model(classifier: Classifier, tiny_llama: Path) -> None:
    tuned = classifier.decode(TWEETS)
    with classifier.untuned():
        untuned = classifier.decode(TWEETS)
    bare = Classifier(load_base(resolve_base_model(str(tiny_llama)), place("fp32", "cpu")), classifier.encoder)
    for a, b in zip(untuned, bare.decode(TWEETS), strict=True):
        assert a.log_likelihoods == pytest.approx(b.log_likelihoods, abs=1e-4)
    assert any(
        a.log_likelihoods != pytest.approx(b.log_likelihoods, abs=1e-2) for a, b in zip(tuned, untuned, strict=True)
    )


def test_the_model_is_left_in_the_mode_it_was_in(classifier: Classifier) -> None:
    classifier.model.train()
    classifier.decode(TWEETS[:1])
    assert classifier.model.training
    classifier.model.eval()
    classifier.decode(TWEETS[:1])
    assert not classifier.model.training


def test_nothing_to_decode_is_no_error(classifier: Classifier) -> None:
    assert classifier.decode([]) == []


def test_ties_go_to_the_first_label() -> None:
    assert Decoded("", None, (-1.0, -0.5, -0.5), ("a", "b", "c"), False).loglikelihood == "b"


def test_batches_hold_every_prompt_once_and_like_lengths_together() -> None:
    lengths = [7, 300, 5, 5, 900, 6] * 40
    batches = list(_batches(lengths))
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    assert [lengths[batch[0]] for batch in batches] == sorted((lengths[b[0]] for b in batches), reverse=True)
    assert all(len(batch) * lengths[batch[0]] <= 2048 and len(batch) <= 64 for batch in batches)
