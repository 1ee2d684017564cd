"""Programs that do the same work in turn: which can run here, with which settings, when, and what tables say of it."""

import logging
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

from benchmarks.jobs import Settings, packages
from pipeline.errors import PipelineError


class Measured(Protocol):
    """A program; ``python`` is None where the user has not named an interpreter."""

    @property
    def python(self) -> str | None:
        """The interpreter that it runs in."""


Program = TypeVar("Program", bound=Measured)


def refuse_unknown(names: Sequence[str], known: Mapping[str, Measured]) -> None:
    """Refuses names that no program has.

    Raises:
        PipelineError: there is one.
    """
    if unknown := [name for name in names if name not in known]:
        raise PipelineError(f"--programs: expected some of {', '.join(known)}; got {', '.join(unknown)}")


def chosen(
    names: Sequence[str],
    known: Mapping[str, Program],
    lacking: Callable[[Program], str | None],
    scratch: Path,
    environment: Mapping[str, str],
    record: dict[str, Any],
) -> dict[str, Program]:
    """The programs that can run here, in their order.

    ``record`` gets room for what they do; it tells why others cannot run, and which versions these are.

    Args:
        names: of those that were asked for.
        known: all there are.
        lacking: why a program cannot run here, or None.
        scratch: folder for what the processes leave.
        environment: variables of the processes.
        record: what goes into the file with the raw results.

    Raises:
        PipelineError: none of them can run.
    """
    reasons = {name: lacking(known[name]) for name in names}
    skipped = {name: reason for name, reason in reasons.items() if reason is not None}
    found = {name: known[name] for name, reason in reasons.items() if reason is None}
    record |= {"programs": names, "skipped": skipped, "settings": {}, "trials": {}}
    if not found:
        raise PipelineError(f"--programs: none of them can run: {'; '.join(skipped.values())}")
    record["packages"] = {
        name: packages(each.python, scratch, environment) for name, each in found.items() if each.python
    }
    record["rounds"] = {name: [] for name in found}
    return found


def settle(
    programs: Mapping[str, Program],
    trial: Callable[[str, Program], tuple[Settings, list[dict[str, Any]]]],
    record: dict[str, Any],
    log: logging.Logger,
) -> Iterator[None]:
    """Finds the fastest settings of each; gives a turn whenever there is something new in the record."""
    for name, program in programs.items():
        settings, tried = trial(name, program)
        record["settings"][name] = dict(settings)
        if tried:
            record["trials"][name] = tried
            log.info("%s: %s is the fastest of %d settings", name, in_words(settings), len(tried))
            yield None


def in_turn(names: Sequence[str], rounds: int) -> Iterator[tuple[int, str]]:
    """The number of each round and a program; another one begins each, so that none always has the machine cool."""
    for number in range(rounds):
        first = number % len(names)
        for name in [*names[first:], *names[:first]]:
            yield number, name


# --- in tables


def median(rounds: Sequence[Mapping[str, Any]], key: str) -> float:
    """A number of the rounds, in the middle one."""
    return float(statistics.median(each[key] for each in rounds))


def faster(record: Mapping[str, Any], ours: str, name: str) -> tuple[str, str]:
    """By how much ``ours`` is faster, in the median and from round to round; nothing where it was not measured."""
    rounds, others = record["rounds"].get(ours, ()), record["rounds"][name]
    if not rounds:
        return "", ""
    speed = "tweets_per_second"
    ratios = [one[speed] / other[speed] for one, other in zip(rounds, others, strict=False)]
    return f"{median(rounds, speed) / median(others, speed):.2f}", f"{min(ratios):.2f} to {max(ratios):.2f}"


def notes(record: Mapping[str, Any], names: Mapping[str, str]) -> Iterator[str]:
    """What each program ran with, where a trial chose it; ``names`` are those for the reader."""
    for name, tried in record["trials"].items():
        ranked = sorted(tried, key=lambda each: float(each["seconds"]))
        times = "; ".join(f"{in_words(each['settings'])} {each['seconds']:.1f} s" for each in ranked)
        yield f"* {names[name]} ran with {in_words(record['settings'][name])}, the fastest in a trial: {times}"


def in_words(settings: Settings) -> str:
    """Settings as they stand in a table."""
    return ", ".join(f"{key} {str(value).lower()}" for key, value in settings.items())
