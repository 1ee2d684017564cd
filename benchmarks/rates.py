"""How fast this machine multiplies in bf16: what a program's speed is held against."""

import statistics
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmarks.jobs import ask, serve

if TYPE_CHECKING:  # a process that starts others must be a small one
    import torch

SECONDS = 1.0  # for each shape


class Product(NamedTuple):
    """A product ``(m, k) @ (k, n)``; the right one may lie in memory as ``(n, k)``."""

    m: int
    k: int
    n: int
    transposed: bool


SQUARE = Product(2048, 2048, 2048, transposed=False)


def measured(counted: Mapping[Product, int], scratch: Path, environment: Mapping[str, str]) -> dict[str, Any]:
    """Rates of ``torch.mm`` in bf16, in floating point operations a second, measured in a process of its own.

    A line of ``rates`` is ``{m, k, n, transposed, count, best, median}``: a product, how often the program has it (0
    for the square one), and its rate in the fastest call and in the middle one of a second. ``mixed_best`` and
    ``mixed_median`` are the rates of all of them together.
    """
    products = [{**each._asdict(), "count": count} for each, count in {SQUARE: 0, **counted}.items()]
    found, _ = ask(sys.executable, "benchmarks.rates", {"products": products, "seconds": SECONDS}, scratch, environment)
    return found


def mixed_rate(rates: Sequence[Mapping[str, Any]], which: str) -> float:
    """The rate of a program that had these products alone, each as often as ``count`` says, at its ``which`` rate."""
    parts = [(2 * each["count"] * each["m"] * each["k"] * each["n"], each) for each in rates]
    return float(sum(flops for flops, _ in parts) / sum(flops / each[which] for flops, each in parts))


def machine_rates(rates: Mapping[str, Any]) -> dict[str, float]:
    """The better of before and after, as the machine may have been busy: a program's products, and square ones.

    ``sustained`` and ``square`` are those of the middle call of a second, ``peak`` that of the fastest.
    """
    both = [rates[when] for when in ("before", "after")]
    return {
        "sustained": max(each["mixed_median"] for each in both),
        "peak": max(each["mixed_best"] for each in both),
        "square": max(each["rates"][0]["median"] for each in both),
    }


def table(rates: Mapping[str, Any], times: str) -> Iterator[str]:
    """What the machine multiplies, before and after the rounds; ``times`` says what ``count`` is about."""
    yield f"| torch.mm in bf16 | {times} | TFLOP/s before: best | median | after: best | median |"
    yield "|---|--:|--:|--:|--:|--:|"
    for before, after in zip(rates["before"]["rates"], rates["after"]["rates"], strict=True):
        right = (
            f"({before['n']:,}, {before['k']:,})ᵀ" if before["transposed"] else f"({before['k']:,}, {before['n']:,})"
        )
        numbers = [f"{each[which] / 1e12:.2f}" for each in (before, after) for which in ("best", "median")]
        yield f"| ({before['m']:,}, {before['k']:,}) {right} | {before['count'] or ''} | {' | '.join(numbers)} |"


def _measure(order: Mapping[str, Any]) -> dict[str, Any]:
    import torch

    rates = [{**each, **_rate(each, order["seconds"])} for each in order["products"]]
    mixed = {f"mixed_{which}": mixed_rate(rates, which) for which in ("best", "median")}
    return {"threads": torch.get_num_threads(), "rates": rates, **mixed}


def _rate(product: Mapping[str, Any], seconds: float) -> dict[str, float]:
    import torch

    m, k, n = product["m"], product["k"], product["n"]
    a = torch.randn(m, k).bfloat16()
    b = torch.randn(n, k).bfloat16().t() if product["transposed"] else torch.randn(k, n).bfloat16()
    taken = list(_timed(a, b, seconds))
    return {"best": 2 * m * k * n / min(taken), "median": 2 * m * k * n / statistics.median(taken)}


def _timed(a: "torch.Tensor", b: "torch.Tensor", seconds: float) -> Iterator[float]:
    import torch

    out = torch.mm(a, b)
    end = time.perf_counter() + seconds
    taken = 0
    while taken < 5 or time.perf_counter() < end:
        start = time.perf_counter()
        torch.mm(a, b, out=out)
        yield time.perf_counter() - start
        taken += 1


if __name__ == "__main__":
    serve(_measure)
