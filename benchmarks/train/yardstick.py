"""How fast this machine multiplies, and how long the tweets are: what the programs' speed is held against."""

import json
import statistics
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from benchmarks.train.arithmetic import Decoder, Tweet, step_flops
from benchmarks.train.jobs import serve
from pipeline.artifacts import PreparedDataset
from pipeline.model.base import resolve_base_model
from pipeline.model.encoding import Encoder
from pipeline.model.loading import load_tokenizer

SQUARE = (2048, 2048, 2048)
_SECONDS = 1.0  # for each shape


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
    """Rates of ``torch.mm`` in bf16, in floating point operations a second: ``[{shape, count, best, median}]``.

    ``shape`` is ``(m, k, n)`` of ``(m, k) @ (k, n)``; ``count`` is how often a step has it, 0 for the square one.
    """
    decoder, tokens = Decoder(**order["decoder"]), order["tokens"]
    places = round(order["batch_size"] * tokens["completion"])
    read = tokens["scaffold"] + order["batch_size"] * (tokens["prompt"] + tokens["completion"] - 1)
    measured = [{"shape": SQUARE, "count": 0, **_measured(*SQUARE, transposed=False)}]
    for shape, count in shapes(decoder, round(read), places).items():
        measured.append({"shape": shape, "count": count, **_measured(*shape, transposed=True)})
    mixed = {f"mixed_{which}": mixed_rate(measured, which) for which in ("best", "median")}
    return {"threads": torch.get_num_threads(), "rates": measured, **mixed}


def shapes(decoder: Decoder, tokens: int, places: int) -> Counter[tuple[int, int, int]]:
    """The products of a step with frozen weights and how often it has each: forward, and backward to the inputs.

    Args:
        decoder: the model's shape.
        tokens: of a batch, the scaffold once.
        places: of a batch, whose next token is trained.
    """
    found: Counter[tuple[int, int, int]] = Counter()
    for rows, times, layers in (
        (tokens, decoder.layers, decoder.linear),
        (places, 1, ((decoder.hidden, decoder.vocabulary),)),
    ):
        for inputs, outputs in layers:
            found[rows, inputs, outputs] += times
            found[rows, outputs, inputs] += times
    return found


def mixed_rate(rates_: Sequence[Mapping[str, Any]], which: str) -> float:
    """The rate of a step that had these products alone, each as often as ``count`` says, at its ``which`` rate."""
    parts = [(2 * each["count"] * each["shape"][0] * each["shape"][1] * each["shape"][2], each) for each in rates_]
    return float(sum(flops for flops, _ in parts) / sum(flops / each[which] for flops, each in parts))


def _measured(m: int, k: int, n: int, *, transposed: bool) -> dict[str, float]:
    a = torch.randn(m, k).bfloat16()
    # Weights of a linear layer lie in memory the other way round.
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
