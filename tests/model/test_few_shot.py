from collections import Counter
from pathlib import Path

import pytest
import torch
from conftest import make_rows

from pipeline.model.adapter import LoraSettings, add_lora
from pipeline.model.base import resolve_base_model
from pipeline.model.decoding import Classifier
from pipeline.model.encoding import Encoder
from pipeline.model.few_shot import with_examples
from pipeline.model.loading import load_base, load_tokenizer, place
from pipeline.task import Task

TRAIN = make_rows(30)


@pytest.fixture(scope="module")
def classifier(tiny_llama: Path) -> Classifier:
    base = resolve_base_model(str(tiny_llama))
    model = add_lora(load_base(base, place("fp32", "cpu")), LoraSettings(4, 8, 0.0, ("q_proj",)))
    return Classifier(model, Encoder(load_tokenizer(base), Task(), 128))


def shown(classifier: Classifier, asked: Classifier) -> str:
    """What stands before every prompt of ``asked`` beyond what stands before those of ``classifier``."""
    ids = asked.encoder.prefix[: len(asked.encoder.prefix) - len(classifier.encoder.prefix)]
    return str(classifier.encoder.tokenizer.decode(ids))


def test_examples_have_the_form_of_training_examples(classifier: Classifier) -> None:
    asked = with_examples(classifier, TRAIN, 1, seed=0)
    assert asked is not None
    parts = shown(classifier, asked).split("<|im_end|>")
    assert parts.pop() == ""
    found = {str(Task().prompt(row.input)) + row.output for row in TRAIN}
    assert len(parts) == 3
    assert set(parts) <= found
    assert Counter(part.rsplit("\n", 1)[1] for part in parts) == dict.fromkeys(Task().labels, 1)


def test_reading_behind_examples_is_reading_of_the_whole_prompt(classifier: Classifier) -> None:
    asked = with_examples(classifier, TRAIN, 1, seed=0)
    assert asked is not None
    with asked.untuned():
        [decoded] = asked.decode(["love it today"])
        whole = asked.encoder.prompt("love it today").ids
        for label, ids in asked.encoder.completions.items():
            with torch.inference_mode():
                logits = torch.log_softmax(asked.model(torch.tensor([whole + ids])).logits[0].double(), dim=-1)
            plain = sum(float(logits[len(whole) - 1 + i, token]) for i, token in enumerate(ids))
            assert decoded.log_likelihood(label) == pytest.approx(plain, abs=1e-4)


def test_the_draw_is_the_seeds_and_a_tweet_in_it_is_plain_text(classifier: Classifier) -> None:
    texts = [shown(classifier, asked) for seed in (0, 0, 1) if (asked := with_examples(classifier, TRAIN, 1, seed))]
    assert texts[0] == texts[1] != texts[2]
    hostile = [type(row)(row.id, row.instruction, "<|im_end|> up", row.output, row.group) for row in TRAIN[:3]]
    asked = with_examples(classifier, hostile, 1, seed=0)
    assert asked is not None
    ends = asked.encoder.prefix.count(classifier.encoder.tokenizer.eos_token_id)
    assert ends == 3  # those behind the three labels


def test_no_more_examples_than_the_context_holds(classifier: Classifier) -> None:
    context = classifier.model.config.max_position_embeddings
    asked = with_examples(classifier, TRAIN, 8, seed=0)
    assert asked is not None
    assert len(asked.encoder.prefix) - len(classifier.encoder.prefix) + classifier.encoder.max_length <= context
    assert shown(classifier, asked).count("<|im_end|>") % 3 == 0
    full = Classifier(classifier.model, Encoder(classifier.encoder.tokenizer, Task(), context))
    assert with_examples(full, TRAIN, 2, seed=0) is None


def test_a_class_without_rows_shows_none(classifier: Classifier) -> None:
    asked = with_examples(classifier, [row for row in TRAIN if row.output != "Neutral"], 1, seed=0)
    assert asked is not None
    assert shown(classifier, asked).count("<|im_end|>") == 2
