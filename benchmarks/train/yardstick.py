"""How fast this machine multiplies, and how long the tweets are: what the programs' speed is held against."""

import json
import statistics
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import torch

from benchmarks.train.arithmetic import Decoder, Tweet, step_flops
from benchmarks.train.jobs import serve
from pipeline.artifacts import PreparedDataset
from pipeline.model.base import resolve_base_model
from pipeline.model.encoding import Encoder
from pipeline.model.loading import load_tokenizer

_SECONDS = 1.0  # for each shape


class Product(NamedTuple):
    """A product ``(m, k) @ (k, n)``; the right one may lie in memory as ``(n, k)``."""

    m: int
    k: int
    n: int
    transposed: bool


SQUARE = Product(2048, 2048, 2048, transposed=False)


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


def rates(order: Mapping[str, Any]) -> dict[str, Any]:
    """Rates of ``torch.mm`` in bf16, in floating point operations a second.

    A line is ``{m, k, n, transposed, count, best, median}``: a product, how often a step has it (0 for the square one),
    and its rate in the fastest call and in the middle one of a second.
    """
    decoder, tokens = Decoder(**order["decoder"]), order["tokens"]
    places = round(order["batch_size"] * tokens["completion"])
    read = tokens["scaffold"] + order["batch_size"] * (tokens["prompt"] + tokens["completion"] - 1)
    counted = {SQUARE: 0, **products(decoder, round(read), places)}
    measured = [{**each._asdict(), "count": count, **_measured(each)} for each, count in counted.items()]
    mixed = {f"mixed_{which}": mixed_rate(measured, which) for which in ("best", "median")}
    return {"threads": torch.get_num_threads(), "rates": measured, **mixed}


def products(decoder: Decoder, tokens: int, places: int) -> Counter[Product]:
    """The products of a step with frozen weights and how often it has each: forward, and backward to the inputs.

    Weights lie in memory as ``(outputs, inputs)``: backward as the product needs them, forward the other way round.

    Args:
        decoder: the model's shape.
        tokens: of a batch, the scaffold once.
        places: of a batch, whose next token is trained.
    """
    found: Counter[Product] = Counter()
    for rows, times, layers in (
        (tokens, decoder.layers, decoder.linear),
        (places, 1, ((decoder.hidden, decoder.vocabulary),)),
    ):
        for inputs, outputs in layers:
            found[Product(rows, inputs, outputs, transposed=True)] += times
            found[Product(rows, outputs, inputs, transposed=False)] += times
    return found


def mixed_rate(rates_: Sequence[Mapping[str, Any]], which: str) -> float:
    """The rate of a step that had these products alone, each as often as ``count`` says, at its ``which`` rate."""
    parts = [(2 * each["count"] * each["m"] * each["k"] * each["n"], each) for each in rates_]
    return float(sum(flops for flops, _ in parts) / sum(flops / each[which] for flops, each in parts))


def _measured(product: Product) -> dict[str, float]:
    m, k, n, transposed = product
    a = torch.randn(m, k).bfloat16()
    b = torch.randn(n, k).bfloat16().t() if transposed else torch.randn(k, n).bfloat16()
    seconds = list(_timed(a, b))
    return {"best": 2 * m * k * n / min(seconds), "median": 2 * m * k * n / statistics.median(seconds)}


def _timed(a: torch.Tensor, b: torch.Tensor) -> Iterator[float]:
    out = torch.mm(a, b)
    end = time.perf_counter() + _SECONDS
    taken = 0
    while taken < 5 or time.perf_counter() < end:
        start = time.perf_counter()
        torch.mm(a, b, out=out)
        yield time.perf_counter() - start
        taken += 1


def _measure(order: Mapping[str, Any]) -> dict[str, Any]:
    return lengths(order) if order["what"] == "lengths" else rates(order)


if __name__ == "__main__":
    serve(_measure)
