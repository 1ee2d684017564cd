"""The decoder against plain generation and plain scoring, one prompt at a time."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import EXACT, make_rows

from pipeline.model.adapter import LoraSettings, add_lora
from pipeline.model.base import BaseModel, resolve_base_model
from pipeline.model.decoding import Classifier, Decoded, _batches
from pipeline.model.encoding import Encoder
from pipeline.model.loading import load_base, load_tokenizer, load_tuned, place
from pipeline.model.training import TrainingResult
from pipeline.model.trie import LabelTrie
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


@pytest.fixture(scope="module")
def learnt_model(tiny_llama: Path, learnt: tuple[Path, TrainingResult]) -> Any:
    """A tiny model that has learnt to answer with labels."""
    return load_tuned(resolve_base_model(str(tiny_llama)), learnt[0] / "adapter", place("fp32", "cpu"))


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


@pytest.mark.parametrize(
    "labels",
    [
        Task().labels,
        ("Positive", "Negative"),  # some tweets are answered with a label that is not asked for
        ("Positive", "Posit", "Pos", "Neutral", "Neut", "Neutral news"),  # some begin as others do
    ],
)
def test_a_model_that_answers_with_labels_is_read_as_by_plain_generate(
    learnt_model: Any, tiny_llama: Path, labels: tuple[str, ...]
) -> None:
    tokenizer = load_tokenizer(resolve_base_model(str(tiny_llama)))
    classifier = Classifier(learnt_model, Encoder(tokenizer, Task(labels=labels), 256))
    tweets = [*(row.input for row in make_rows(12, start=300)), *TWEETS]
    decoded = classifier.decode(tweets)
    completions = [plain_completion(classifier, tweet) for tweet in tweets]
    assert {"Positive", "Neutral", "Negative"} <= set(completions)
    assert [one.completion for one in decoded] == completions
    for tweet, one in zip(tweets, decoded, strict=True):
        plain = [plain_log_likelihood(classifier, tweet, label) for label in labels]
        assert one.log_likelihoods == pytest.approx(plain, abs=1e-4)


def with_lora(base: BaseModel, precision: str) -> Any:
    """A model of a family with an adapter that does something."""
    model = add_lora(load_base(base, place(precision, "cpu")), LoraSettings(4, 8, 0.0, ("all-linear",)))
    torch.manual_seed(1)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    return model


# Bounds on log-likelihoods of 24 nats: rounding of fp32, else of bf16, in which quantised layers compute.
@pytest.mark.parametrize(("precision", "bound"), [("fp32", 1e-4), ("bf16", 0.1), ("int8", 0.1), ("nf4", 0.1)])
@pytest.mark.parametrize("family", EXACT, indirect=True)
def test_every_family_is_decoded_as_trees_and_as_one_by_one(family: BaseModel, precision: str, bound: float) -> None:
    classifier = Classifier(with_lora(family, precision), Encoder(load_tokenizer(family), Task(), 256))
    decoded = classifier.decode(TWEETS)
    assert classifier._as_trees
    for tweet, one in zip(TWEETS, decoded, strict=True):
        plain = [plain_log_likelihood(classifier, tweet, label) for label in classifier.labels]
        assert one.log_likelihoods == pytest.approx(plain, abs=bound)


@pytest.mark.parametrize("family", ["gemma2"], indirect=True)
def test_a_model_that_attends_otherwise_is_decoded_with_padding(
    family: BaseModel, caplog: pytest.LogCaptureFixture
) -> None:
    classifier = Classifier(with_lora(family, "fp32"), Encoder(load_tokenizer(family), Task(), 256))
    decoded = classifier.decode(TWEETS)
    assert not classifier._as_trees
    assert "without padding (its attention needs softcap); slower instead" in caplog.text
    for tweet, one in zip(TWEETS, decoded, strict=True):
        plain = [plain_log_likelihood(classifier, tweet, label) for label in classifier.labels]
        assert one.log_likelihoods == pytest.approx(plain, abs=1e-4)


def test_a_settled_classifier_computes_its_scaffold_once_for_each_of_its_two_models(classifier: Classifier) -> None:
    settled = Classifier(classifier.model, classifier.encoder, settled=True)
    with classifier.untuned():
        expected = classifier.decode(TWEETS[:2])
    for _ in range(2):
        assert settled.decode(TWEETS) == classifier.decode(TWEETS)
        with settled.untuned():
            assert settled.decode(TWEETS[:2]) == expected
    prefixes = dict(settled._prefixes)
    assert prefixes.keys() == {True, False}
    settled.decode(TWEETS)
    assert all(settled._prefixes[key] is prefixes[key] for key in prefixes)


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


def test_threads_take_turns(classifier: Classifier) -> None:
    expected = classifier.decode(TWEETS)
    with ThreadPoolExecutor(4) as pool:
        assert all(found == expected for found in pool.map(lambda _: classifier.decode(TWEETS), range(12)))


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
    batches = list(_batches(lengths, places=8, prefix=100))
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    assert [lengths[batch[0]] for batch in batches] == sorted((lengths[b[0]] for b in batches), reverse=True)
    assert max(map(len, batches)) == 64
    for batch in batches:
        longest = lengths[batch[0]] + 7
        assert len(batch) * longest <= 2048
        assert len(batch) * (longest + 100) <= 32768
    assert len(next(_batches([50] * 99, places=2, prefix=3000))) == 10  # a long scaffold counts where it is seen
    assert len(next(_batches([9000], places=2, prefix=3000))) == 1


def test_a_label_tree_can_be_checked_by_eye() -> None:
    trie = LabelTrie([[5, 6, 0], [5, 7, 8, 0], [9, 0]])
    # Places: 0 the prompt, then 5, 9, 5 6, 5 7, 5 7 8.
    assert trie.tokens.tolist() == [5, 9, 6, 7, 8]
    assert trie.depths.tolist() == [1, 1, 2, 2, 3]
    assert trie.paths == [[(0, 5), (1, 6), (3, 0)], [(0, 5), (1, 7), (4, 8), (5, 0)], [(0, 9), (2, 0)]]
    assert trie.visible.int().tolist() == [
        [1, 0, 0, 0, 0],
        [0, 1, 0, 0, 0],
        [1, 0, 1, 0, 0],
        [1, 0, 0, 1, 0],
        [1, 0, 0, 1, 1],
    ]


@pytest.mark.parametrize(
    ("chosen", "written"),
    [
        ([5, 7, 1, 0, 8, 0], [5, 7, 8]),
        ([5, 6, 1, 0, 8, 0], [5, 6]),
        ([9, 1, 0, 1, 1, 1], [9]),
        ([0, 1, 1, 1, 1, 1], []),  # at once the terminator: it wrote nothing
        ([5, 0, 1, 1, 1, 1], [5]),  # it stopped within a label
        ([4, 1, 1, 1, 1, 1], None),
        ([5, 7, 1, 1, 1, 1], None),  # a label with something behind it
    ],
)
def test_greedy_decoding_follows_the_tree_as_far_as_it_goes(chosen: list[int], written: list[int] | None) -> None:
    assert LabelTrie([[5, 6, 0], [5, 7, 8, 0], [9, 0]]).follow(chosen, {0}) == written
