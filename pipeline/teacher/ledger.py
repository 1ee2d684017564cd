"""What has been paid for: every finished call on the disk, and the budget."""

import contextlib
import json
import logging
import os
import threading
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline.artifacts import dump_jsonl, sync
from pipeline.errors import PipelineError, StoppedError
from pipeline.teacher.asking import Answer, is_count

log = logging.getLogger("pipeline.distill")

CALLS = "calls.jsonl"
_MILLION = 1_000_000


@dataclass(frozen=True)
class Prices:
    """Per million tokens, in any currency; None where nobody said."""

    tokens_in: float | None = None
    tokens_out: float | None = None

    def cost(self, tokens_in: int | None, tokens_out: int | None) -> float | None:
        """Of a call; None where a price or a count is missing."""
        if None in (self.tokens_in, self.tokens_out, tokens_in, tokens_out):
            return None
        return (tokens_in * self.tokens_in + tokens_out * self.tokens_out) / _MILLION  # type: ignore[operator]


@dataclass(frozen=True)
class Budget:
    """How many calls may be made and what they may cost, those of all earlier starts included; None is no bound."""

    max_calls: int | None = None
    max_cost: float | None = None


class Ledger:
    """``calls.jsonl``, a line for each finished call: the hash of its request, the answer, its tokens.

    A line that a kill has cut does not count, and the next one begins behind it. Only who holds the lock of the folder
    may touch it. Safe for threads.
    """

    def __init__(self, folder: Path, prices: Prices, budget: Budget) -> None:
        self.path = folder / CALLS
        self.prices = prices
        self.budget = budget
        self.calls = 0
        """Calls that are finished or under way, without those that failed."""
        self.tokens_in = self.tokens_out = 0
        self._uncounted = 0
        self._spent = 0.0
        self._reserved = 0.0
        self._under_way = 0
        self._answers: dict[str, Answer] = {}
        self._lock = threading.Condition()
        self._read()

    def _read(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            content = self.path.read_bytes()
            whole = content.rfind(b"\n") + 1
            if whole < len(content):
                log.warning("%s: its last line was cut, that call is made again", self.path)
                os.truncate(self.path, whole)
            for number, line in enumerate(content[:whole].splitlines(), start=1):
                try:
                    found = json.loads(line)
                    key, answer = found.pop("key"), Answer(**found)
                    if not (isinstance(key, str) and _is_sound(answer)):
                        raise TypeError(key)
                except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
                    log.warning("%s, line %d: is damaged, that call is made again", self.path, number)
                    continue
                if key not in self._answers:
                    self.calls += 1
                self._take(key, answer)

    def __len__(self) -> int:
        return len(self._answers)

    def find(self, key: str) -> Answer | None:
        """The answer to a request that was paid for before."""
        return self._answers.get(key)

    @contextlib.contextmanager
    def reserved(self, calls: int, tokens_in: int, tokens_out: int) -> Iterator[None]:
        """Room in the budget for calls that are made, and kept, in the block, and for the most tokens of them all.

        Where there is none only because calls under way might cost their utmost, it is waited for what they do cost.

        Raises:
            StoppedError: there is none.
            PipelineError: there can be none, as in ``keep``.
        """
        bounded = self.budget.max_cost is not None
        most = (self.prices.cost(tokens_in, tokens_out) or 0.0) if bounded else 0.0
        with self._lock:
            self._refuse_uncounted()
            while self._reserved and not self._has_room(most):
                self._lock.wait()
            if self.budget.max_calls is not None and self.calls + calls > self.budget.max_calls:
                raise StoppedError(
                    f"--max_calls {self.budget.max_calls}: reached; go on with the same command and a larger "
                    "--max_calls"
                )
            if self.budget.max_cost is not None and not self._has_room(most):
                raise StoppedError(
                    f"--max_cost {self.budget.max_cost:g}: reached; {self._spent:.4f} are spent, and the next call may "
                    f"cost {most:.4f}; go on with the same command and a larger --max_cost"
                )
            self.calls += calls
            self._reserved += most
            self._under_way += 1
        try:
            yield
        except BaseException:
            with self._lock:
                self.calls -= calls
            raise
        finally:
            with self._lock:
                # Rounding must not leave a crumb behind which the last one waits for.
                self._under_way -= 1
                self._reserved = self._reserved - most if self._under_way else 0.0
                self._lock.notify_all()

    def _has_room(self, most: float) -> bool:
        bound = self.budget.max_cost
        return bound is None or self._spent + self._reserved + most <= bound

    def keep(self, answers: Mapping[str, Answer]) -> None:
        """Writes answers down; they are on the disk when this returns.

        Raises:
            PipelineError: a budget cannot be kept, because the teacher does not say how many tokens it took.
        """
        with self._lock:
            known = self.path.exists()
            with self.path.open("a", encoding="utf-8", errors="backslashreplace") as file:
                file.writelines(dump_jsonl({"key": key, **_short(answer)} for key, answer in answers.items()))
                file.flush()
                os.fsync(file.fileno())
            if not known:
                sync(self.path.parent)
            for key, answer in answers.items():
                self._take(key, answer)
            self._refuse_uncounted()

    def _refuse_uncounted(self) -> None:
        if self.budget.max_cost is not None and self._uncounted:
            raise PipelineError(
                f"--max_cost {self.budget.max_cost:g}: expected the number of tokens in every answer, got none; "
                "bound the calls instead, by --max_calls"
            )

    @property
    def cost(self) -> float | None:
        """What all calls have cost; None where that cannot be known."""
        known = self.prices.cost(0, 0) is not None and not self._uncounted
        return self._spent if known else None

    @property
    def told(self) -> str:
        """Tokens and cost for a bar."""
        cost = self.cost
        return f"{self.tokens_in + self.tokens_out:,} tokens, cost {'unknown' if cost is None else f'{cost:.4f}'}"

    def to_json(self) -> dict[str, object]:
        """What the calls took, as it stands in a manifest."""
        return {
            "calls": len(self),
            "tokens_in": None if self._uncounted else self.tokens_in,
            "tokens_out": None if self._uncounted else self.tokens_out,
            "cost": "unknown" if self.cost is None else round(self.cost, 6),
            "price_in": self.prices.tokens_in,
            "price_out": self.prices.tokens_out,
        }

    def _take(self, key: str, answer: Answer) -> None:
        """Takes a finished call in; its tokens count once, however often it was written down."""
        known = key in self._answers
        self._answers[key] = answer
        if known:
            return
        if answer.tokens_in is None or answer.tokens_out is None:
            self._uncounted += 1
            return
        self.tokens_in += answer.tokens_in
        self.tokens_out += answer.tokens_out
        self._spent += self.prices.cost(answer.tokens_in, answer.tokens_out) or 0.0


def _is_sound(answer: Answer) -> bool:
    """Whether what was read has the types that it should have."""
    return (
        isinstance(answer.text, str)
        and all(isinstance(each, str | None) for each in (answer.finish, answer.refusal))
        and all(n is None or is_count(n) for n in (answer.tokens_in, answer.tokens_out))
    )


def _short(answer: Answer) -> dict[str, Any]:
    return {name: value for name, value in asdict(answer).items() if value is not None}
