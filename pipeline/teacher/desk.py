"""Asking many requests: those that were answered before cost nothing, the others run side by side."""

import dataclasses
import logging
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Generic, TypeVar

from tqdm import tqdm

from pipeline.errors import StoppedError
from pipeline.teacher.asking import Answer, Request, Teacher
from pipeline.teacher.ledger import Ledger

log = logging.getLogger("pipeline.distill")

Value = TypeVar("Value")
ASKS = 3  # times that a request is asked until its answer has the form it should have
_NEXT_SEED = 1_000_003


@dataclasses.dataclass(frozen=True)
class Outcome(Generic[Value]):
    """What a request led to: what was read of its answer, or None with the last answer that could not be read."""

    value: Value | None
    answer: Answer
    asks: int


class Desk:
    """A teacher, with what it was paid for."""

    def __init__(self, teacher: Teacher, ledger: Ledger) -> None:
        self.teacher = teacher
        self.ledger = ledger
        self._stopped = threading.Event()
        self._error: BaseException | None = None  # the first one
        self._lock = threading.Lock()

    def ask(
        self, requests: Sequence[Request], read: Callable[[Answer], Value | None], progress: str
    ) -> list[Outcome[Value]]:
        """What the requests led to, in their order.

        One whose answer cannot be read is asked again with another seed, up to three times; each of these is a request
        of its own. What comes out depends on the teacher's answers alone, not on which of them came first.

        Raises:
            StoppedError: the budget is used up, or a signal came.
            PipelineError: the teacher cannot be reached, or refuses.
        """
        outcomes: list[Outcome[Value] | None] = [None] * len(requests)
        pending = list(range(len(requests)))
        for turn in range(ASKS):
            asked = [
                dataclasses.replace(requests[i], seed=(requests[i].seed + turn * _NEXT_SEED) % 2**31) for i in pending
            ]
            for i, answer in zip(pending, self._answers(asked, progress), strict=True):
                value = None if answer.refusal else read(answer)
                outcomes[i] = Outcome(value, answer, turn + 1)
            pending = [i for i in pending if (found := outcomes[i]) is None or found.value is None]
            if not pending:
                break
        return [outcome for outcome in outcomes if outcome is not None]

    def _answers(self, requests: Sequence[Request], progress: str) -> list[Answer]:
        keys = [request.key(self.teacher.identity) for request in requests]
        different = dict(zip(keys, requests, strict=True))
        names, size = list(different), self.teacher.batch
        # A batch is fixed by its requests: what a local model draws depends on what it draws it beside.
        batches = [names[at : at + size] for at in range(0, len(names), size)]
        waiting = [batch for batch in batches if any(self.ledger.find(key) is None for key in batch)]
        self._pay([{key: different[key] for key in batch} for batch in waiting], progress)
        found = Counter(key for key in keys if self.ledger.find(key) is None)
        if found:
            raise AssertionError(f"{len(found)} requests have no answer")
        return [answer for key in keys if (answer := self.ledger.find(key)) is not None]

    def _pay(self, batches: Sequence[Mapping[str, Request]], progress: str) -> None:
        if not batches:
            return
        bar = tqdm(total=sum(map(len, batches)), desc=progress, unit="call", leave=None, disable=None)
        with bar, ThreadPoolExecutor(self.teacher.workers) as pool:
            try:
                futures = [pool.submit(self._pay_one, batch) for batch in batches]
                for future in as_completed(futures):
                    bar.update(future.result())
                    bar.set_postfix_str(self.ledger.told)
            except BaseException as error:
                # What is under way is paid for, so it is waited for and kept; what was not begun is not.
                self._stopped.set()
                self.teacher.stop()
                pool.shutdown(wait=False, cancel_futures=True)
                if self._error is not None and isinstance(error, StoppedError):
                    raise self._error from None  # what else stopped did so because of it
                raise

    def _pay_one(self, batch: Mapping[str, Request]) -> int:
        if self._stopped.is_set():
            return 0
        try:
            # Of a batch that was cut by a kill, some calls are finished.
            missing = [request for key, request in batch.items() if self.ledger.find(key) is None]
            tokens_in, tokens_out = map(sum, zip(*map(self.teacher.most_tokens, missing), strict=True))
            with self.ledger.reserved(len(missing), tokens_in, tokens_out):
                if self._stopped.is_set():  # while it waited for room in the budget
                    raise StoppedError(f"{self.ledger.path.parent}: stopped")
                answers = self.teacher.answer(list(batch.values()))
                # Before the room is given back: else another call could be begun for money that is spent.
                self.ledger.keep(dict(zip(batch, answers, strict=True)))
        except BaseException as error:
            # Here and not where it is waited for: by then the next call would be under way.
            with self._lock:
                self._error = self._error or error
            self._stopped.set()
            self.teacher.stop()
            raise
        return len(batch)
