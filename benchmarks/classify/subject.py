"""What all programs are given: the tuned model with its adapter merged, the tweets, and the work that they are."""

import statistics
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import torch

from benchmarks.classify.arithmetic import Tree, scaffold_flops, tweet_flops
from benchmarks.classify.programs import spread
from benchmarks.decoder import Decoder
from benchmarks.jobs import serve
from pipeline.artifacts import PreparedDataset, Run
from pipeline.errors import PipelineError
from pipeline.model.base import resolve_base_model
from pipeline.model.classifier import load_classifier
from pipeline.text import clean


def subject(order: Mapping[str, Any]) -> dict[str, Any]:
    """Merges the run's adapter in fp32, writes the model in bf16 to ``merged``, and encodes tweets of the test split.

    Tweets that the run would shorten are left out, so that all programs read the same. ``work`` are the floating point
    operations of the scaffold and of each tweet (see ``arithmetic``).
    """
    run, dataset = Run.load(order["run"]), PreparedDataset.load(order["dataset"])
    if dataset.task != run.task:
        raise PipelineError(f"{dataset.folder}: its labels or prompt are not those that {run.folder} was tuned on")
    classifier, _ = load_classifier(run, precision="fp32", device="cpu")
    encoder = classifier.encoder
    tokenizer, scaffold = encoder.tokenizer, len(encoder.prefix)
    encoded = [(row, encoder.prompt(row.input)) for row in dataset.rows("test")]
    fitting = [(row, len(prompt.ids)) for row, prompt in encoded if not prompt.shortened]
    if not fitting:
        raise PipelineError(f"{dataset.folder}: expected test tweets that fit the run's max_length; none do")
    chosen = [fitting[i] for i in spread(len(fitting), order["tweets"])]
    lengths = [length for _, length in chosen]
    model = classifier.model.merge_and_unload().to(torch.bfloat16)
    model.save_pretrained(order["merged"])
    tokenizer.save_pretrained(order["merged"])
    recorded = run.manifest["base_model"]
    decoder, tree = Decoder.from_config(model.config.to_dict()), Tree.of(encoder.completions.values())
    return {
        "model": resolve_base_model(recorded["name"], recorded["fingerprint"]).location,
        "adapter": str(run.adapter),
        "base_model": {key: recorded[key] for key in ("name", "fingerprint")},
        "task": run.task.to_json(),
        "longest": encoder.longest_completion - 1,
        "context": max(lengths) + encoder.longest_completion + 2,
        "ids": [row.id for row, _ in chosen],
        "texts": [row.input for row, _ in chosen],
        "prompts": [str(run.task.prompt(clean(row.input))) for row, _ in chosen],
        "decoder": asdict(decoder),
        "tokens": {
            "scaffold": scaffold,
            "prompt": statistics.mean(lengths) - scaffold,
            "tree": len(tree.depths),
            "places": tree.places,
        },
        "work": {
            "scaffold": scaffold_flops(decoder, scaffold),
            "tweets": [tweet_flops(decoder, scaffold, length - scaffold, tree) for length in lengths],
        },
    }


if __name__ == "__main__":
    serve(subject)
