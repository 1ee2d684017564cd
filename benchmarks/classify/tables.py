"""The results as Markdown tables, from what stands in the JSON file."""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from benchmarks import turns
from benchmarks.classify.programs import HARNESS, OURS, TUTORIAL, WHOLE

_NAMES = {
    TUTORIAL: "Alpaca-LoRA tutorial, one by one, fp32",
    "generate": "transformers, generate in batches",
    HARNESS: "lm-evaluation-harness",
    "llamacpp": "llama.cpp",
    "vllm": "vLLM",
    WHOLE: "this project, fp32",
    OURS: "this project",
}
_REFERENCES = (TUTORIAL, HARNESS, WHOLE)


def compared(record: Mapping[str, Any]) -> Iterator[str]:
    """The programs side by side."""
    yield (
        "| program | tweets | tweets/s, median | in each round | ours is faster by | in each round "
        "| from command to first label, s | peak MiB | labels as the tutorial's | as the harness's | as ours in fp32 "
        "| % of the machine's bf16 rate: a batch's products | their fastest calls | 2048³ |"
    )
    yield "|---|--:|--:|---|--:|---|--:|--:|--:|--:|--:|--:|--:|--:|"
    for name in record["programs"]:
        if name in record["skipped"]:
            yield f"| {_NAMES[name]} | skipped: {record['skipped'][name]} {'| ' * 12}|"
        else:
            yield _program(name, record)


def _program(name: str, record: Mapping[str, Any]) -> str:
    rounds = record["rounds"][name]
    useful = turns.median(rounds, "useful_flops_per_second")
    cells = [
        _NAMES[name],
        f"{len(rounds[0]['tweets']):,}",
        f"{turns.median(rounds, 'tweets_per_second'):.2f}",
        ", ".join(f"{each['tweets_per_second']:.2f}" for each in rounds),
        *turns.faster(record, OURS, name),
        f"{turns.median(rounds, 'startup_seconds'):.1f}",
        f"{max(each['peak_bytes'] for each in rounds) / 2**20:.0f}",
        *(_share(name, other, record) for other in _REFERENCES),
        *(f"{100 * useful / record['machine_rates'][which]:.1f}" for which in ("sustained", "peak", "square")),
    ]
    return f"| {' | '.join(cells)} |"


def _share(name: str, other: str, record: Mapping[str, Any]) -> str:
    if name == other or other not in record["rounds"]:
        return ""
    same, n = agreement(record["rounds"][name][0], record["rounds"][other][0])
    return f"{same:,} of {n:,} ({100 * same / n:.1f} %)"


def agreement(one: Mapping[str, Any], other: Mapping[str, Any]) -> tuple[int, int]:
    """On how many tweets two programs gave the same label, and how many both were given.

    What was written is held against what was written; where one of them only ranks labels, its first is held against
    the other's first. An answer that is no label is one more label.
    """
    written = one["written"] is not None and other["written"] is not None
    a, b = (_by_tweet(each, "written" if written or each["ranked"] is None else "ranked") for each in (one, other))
    both = a.keys() & b.keys()
    return sum(a[i] == b[i] for i in both), len(both)


def _by_tweet(one: Mapping[str, Any], reading: str) -> dict[int, str | None]:
    return dict(zip(one["tweets"], one[reading], strict=True))


def notes(record: Mapping[str, Any]) -> Iterator[str]:
    """What the tables are about, in lines."""
    tokens, work = record["tokens"], record["work"]
    yield (
        f"* {len(work['tweets']):,} test tweets of {tokens['prompt']:.1f} tokens behind a scaffold of "
        f"{tokens['scaffold']}; the labels are a tree of {tokens['tree']} tokens with {tokens['places']} places that "
        f"predict; {record['config']['rounds']} rounds in turn"
    )
    yield f"* a tweet cannot do without {statistics.mean(work['tweets']) / 1e9:.1f} GFLOP"
    yield from turns.notes(record, _NAMES)


def growth(lines: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Ours alone by number of tweets and by their length."""
    yield "| tweets | tokens a tweet | seconds | ms a tweet | tweets/s | whole command s | peak MiB |"
    yield "|--:|--:|--:|--:|--:|--:|--:|"
    for each in lines:
        yield (
            f"| {each['tweets']:,} | {each['tokens']:.0f} | {each['seconds']:.1f} "
            f"| {1000 * each['seconds'] / each['tweets']:.1f} | {each['tweets'] / each['seconds']:.2f} "
            f"| {each['wall_seconds']:.1f} | {each['peak_bytes'] / 2**20:.0f} |"
        )
