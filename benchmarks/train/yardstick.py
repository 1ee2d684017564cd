"""How long the tweets are, and what a step with them cannot do without."""

import json
import statistics
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.decoder import Decoder
from benchmarks.jobs import serve
from benchmarks.train.arithmetic import Tweet, step_flops
from pipeline.artifacts import PreparedDataset
from pipeline.model.base import resolve_base_model
from pipeline.model.encoding import Encoder
from pipeline.model.loading import load_tokenizer


def lengths(order: Mapping[str, Any]) -> dict[str, Any]:
    """The base model and the training tweets in tokens, as this project encodes them.

    ``work`` are the floating point operations of a step (see ``arithmetic``): of the scaffold, once a batch, and of a
    tweet, in the mean over the training split.
    """
    base = resolve_base_model(order["base_model"])
    dataset = PreparedDataset.load(order["dataset"])
    tokenizer = load_tokenizer(base)
    encoder = Encoder(tokenizer, dataset.task, order["max_length"])
    scaffold = len(encoder.prefix)
    rows = dataset.rows("train")
    prompts = encoder.prompts([row.input for row in rows])
    tweets = [
        Tweet(len(prompt.ids) - scaffold, len(encoder.completions[row.output]))
        for prompt, row in zip(prompts, rows, strict=True)
    ]
    decoder = Decoder.from_config(json.loads((Path(base.location) / "config.json").read_text(encoding="utf-8")))
    of_scaffold = step_flops(decoder, scaffold, [], order["rank"])
    of_tweets = step_flops(decoder, scaffold, tweets, order["rank"]) - of_scaffold
    return {
        "model": base.location,
        "fingerprint": base.fingerprint,
        "decoder": asdict(decoder),
        "end": tokenizer.eos_token,
        "rows": len(rows),
        "tokens": {
            "scaffold": scaffold,
            "prompt": statistics.mean(tweet.prompt for tweet in tweets),
            "completion": statistics.mean(tweet.completion for tweet in tweets),
        },
        "work": {"scaffold": of_scaffold, "tweet": of_tweets / len(tweets)},
    }


if __name__ == "__main__":
    serve(lengths)
