"""The results as Markdown tables, from what stands in the JSON file."""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from benchmarks import turns

OURS = "ours"
_NAMES = {
    "tutorial": "Alpaca-LoRA tutorial, fp32",
    "trl": "TRL, SFTTrainer",
    "llamafactory": "LLaMA-Factory",
    OURS: "this project",
}


def compared(record: Mapping[str, Any]) -> Iterator[str]:
    """The programs side by side."""
    yield (
        "| program | tweets/s, median | in each round | ours is faster by | in each round | peak MiB "
        "| loss at the end, as it tells it | test loss | macro-F1 "
        "| % of the machine's bf16 rate: a step's products | their fastest calls | 2048³ |"
    )
    yield "|---|--:|---|--:|---|--:|--:|--:|---|--:|--:|--:|"
    for name in record["programs"]:
        if name in record["skipped"]:
            yield f"| {_NAMES[name]} | skipped: {record['skipped'][name]} | | | | | | | | | | |"
        else:
            yield _program(name, record)


def _program(name: str, record: Mapping[str, Any]) -> str:
    rounds = record["rounds"][name]
    score, losses = record["scores"]["scores"][name], record["scores"]["test_losses"][name]
    useful = turns.median(rounds, "useful_flops_per_second")
    cells = [
        _NAMES[name],
        f"{turns.median(rounds, 'tweets_per_second'):.2f}",
        ", ".join(f"{each['tweets_per_second']:.2f}" for each in rounds),
        *turns.faster(record, OURS, name),
        f"{max(each['peak_bytes'] for each in rounds) / 2**20:.0f}",
        f"{turns.median(rounds, 'loss'):.3f}",
        f"{statistics.median(losses):.3f}",
        f"{score['macro_f1']:.3f} [{score['low']:.3f}, {score['high']:.3f}]",
        *(f"{100 * useful / record['machine_rates'][which]:.0f}" for which in ("sustained", "peak", "square")),
    ]
    return f"| {' | '.join(cells)} |"


def paired(record: Mapping[str, Any]) -> Iterator[str]:
    """Ours against each of the others on the same test tweets."""
    scores = record["scores"]
    yield f"| ours against, on {scores['n']:,} test tweets | macro-F1 | p | p, Holm |"
    yield "|---|---|--:|--:|"
    for each in scores["comparisons"]:
        interval = f"{each['difference']:+.3f} [{each['low']:+.3f}, {each['high']:+.3f}]"
        yield f"| {_NAMES[each['other']]} | {interval} | {each['p_value']:.2g} | {each['p_holm']:.2g} |"


def notes(record: Mapping[str, Any]) -> Iterator[str]:
    """What the tables are about, in lines."""
    job, work, tokens = record["job"], record["work"], record["tokens"]
    step = work["scaffold"] + job["batch_size"] * work["tweet"]
    yield (
        f"* {record['rows']:,} training tweets of {tokens['prompt']:.1f} tokens behind a scaffold of "
        f"{tokens['scaffold']}; {job['steps']} steps of {job['batch_size']} tweets, {record['rounds_asked']} rounds in "
        f"turn; LoRA r {job['rank']}, alpha {job['alpha']}, on all linear layers; AdamW, {job['learning_rate']}"
    )
    yield f"* a step cannot do without {step / 1e9:.1f} GFLOP"
    yield from turns.notes(record, _NAMES)


def growth(lines: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Ours alone by number of tweets and by their length."""
    yield "| tweets | tokens a tweet | steps | seconds | ms a step | tweets/s | whole command s | peak MiB |"
    yield "|--:|--:|--:|--:|--:|--:|--:|--:|"
    for each in lines:
        yield (
            f"| {each['tweets']:,} | {each['tokens']:.0f} | {each['steps']:,} | {each['seconds']:.1f} "
            f"| {1000 * each['seconds'] / each['steps']:.0f} | {each['tweets_per_second']:.2f} "
            f"| {each['wall_seconds']:.1f} | {each['peak_bytes'] / 2**20:.0f} |"
        )
