"""A teacher behind an OpenAI-compatible endpoint: OpenAI's own, vLLM, llama.cpp, Ollama and many others."""

import email.utils
import json
import logging
import os
import random
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from pipeline.errors import PipelineError, StoppedError, first_line
from pipeline.teacher.asking import Answer, Request

log = logging.getLogger("pipeline.distill")

KEY = "OPENAI_API_KEY"
_BACKOFF = 1.0  # seconds before the first repetition; each further one waits twice as long
_LONGEST_WAIT = 60.0
_LONGEST_ASKED = 600.0  # a server that asks for more is told of, not waited for
_LONGEST_QUOTE = 160
_AGAIN = (408, 409, 425, 429)
# No waiting helps.
_EXHAUSTED = ("insufficient_quota", "billing_hard_limit_reached")


def is_address(teacher: str) -> bool:
    """Whether ``--teacher`` names an endpoint and not a model on this machine."""
    return teacher.startswith(("http://", "https://"))


def check_address(address: str) -> None:
    """Refuses an address that a manifest must not hold, or that is none.

    Raises:
        PipelineError: it is no address, or has a password or a query in it.
    """
    try:
        parts = urlsplit(address)
        whole = bool(parts.hostname) and (parts.port or 0) >= 0
    except ValueError:
        whole = False
    if not whole:
        raise PipelineError("--teacher: expected an address such as https://api.openai.com/v1, got one without a host")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise PipelineError(
            f"--teacher: expected an address alone, got a user, password, query or fragment in it; the key belongs "
            f"into the environment, {KEY}"
        )


class Endpoint:
    """Calls ``/chat/completions`` of an address; see ``asking.Teacher``.

    A call that times out, is cut, comes back as 408, 409, 425, 429 or 5xx, or with a body that is no answer, is
    repeated up to ``retries`` times, after a wait that doubles and is drawn at random around that; what a
    ``Retry-After`` asks for is kept, by all calls at once. The key is read from the environment and goes nowhere but
    into the header of a call.

    Args:
        address: of the endpoint, such as ``https://api.openai.com/v1``.
        model: its name there.
        workers: calls at a time.
        timeout: seconds to wait for an answer, or for its next piece.
        retries: of a call.
        extra: laid over the body of every call; None for a value leaves that key out.

    Raises:
        PipelineError: the package openai is missing.
    """

    batch = 1
    one_a_call = False

    def __init__(
        self, address: str, model: str, *, workers: int, timeout: float, retries: int, extra: Mapping[str, Any]
    ) -> None:
        try:
            import openai
        except ImportError as error:
            raise PipelineError(
                "the package openai is not installed, by which --teacher URL is called; pip install "
                "'sentiment-tuner[distill]'"
            ) from error
        check_address(address)
        self.name = model
        self.identity: Mapping[str, Any] = {"address": address.rstrip("/"), "model": model, "extra": dict(extra)}
        self.workers = workers
        self.repeated = 0
        self._openai = openai
        self._extra = extra
        self._retries = retries
        self._key = os.environ.get(KEY, "").strip()
        # Servers on one's own machine want no key, but the client wants a text.
        self._client = openai.OpenAI(
            api_key=self._key or "none", base_url=address.rstrip("/"), timeout=timeout, max_retries=0
        )
        self._stopped = threading.Event()
        self._not_before = 0.0
        self._lock = threading.Lock()

    def stop(self) -> None:
        """Calls that wait to be repeated give up."""
        self._stopped.set()

    def answer(self, requests: Sequence[Request]) -> list[Answer]:
        """The answers, one call after the other.

        Raises:
            PipelineError: the endpoint refuses, or fails again and again.
            StoppedError: ``stop`` was called meanwhile.
        """
        return [self._answer(request) for request in requests]

    def _answer(self, request: Request) -> Answer:
        body = self._body(request)
        for attempt in range(self._retries + 1):
            self._wait(max(0.0, self._not_before - time.monotonic()))
            asked = None
            try:
                return _read(self._client.chat.completions.create(**body))
            except self._openai.APIStatusError as error:
                if error.status_code not in _AGAIN and error.status_code < 500:
                    raise self._refusal(error) from None
                if error.code in _EXHAUSTED:
                    raise self._refusal(error) from None
                why = f"HTTP {error.status_code}"
                asked = _retry_after(error.response.headers)
            except self._openai.APITimeoutError:
                why = "no answer in time"
            except self._openai.APIConnectionError as error:
                why = f"no connection, or one that broke: {first_line(error.__cause__ or error)}"
            except (self._openai.OpenAIError, ValueError, TypeError, AttributeError, RecursionError) as error:
                why = f"a body that is no answer: {first_line(error)}"
            why = self._without_key(why)
            if attempt == self._retries:
                raise PipelineError(
                    f"{self.identity['address']}: expected an answer, got {why}, {attempt + 1} times in a row; "
                    "finished calls are kept; go on with the same command when it answers again"
                )
            self._pause(attempt, asked, why)
        raise AssertionError("unreachable")

    def _body(self, request: Request) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": self.name,
            "messages": [
                {"role": "system", "content": request.system},
                {"role": "user", "content": json.dumps(request.content, ensure_ascii=False)},
            ],
            "max_tokens": request.max_tokens,
            "seed": request.seed,
        }
        if request.temperature is not None:
            body["temperature"] = request.temperature
        left_out = [name for name, value in self._extra.items() if value is None]
        added = {name: value for name, value in self._extra.items() if value is not None}
        return {name: value for name, value in body.items() if name not in (*left_out, *added)} | (
            {"extra_body": added} if added else {}
        )

    def _pause(self, attempt: int, asked: float | None, why: str) -> None:
        """Waits before a call is repeated."""
        if asked is not None and asked > _LONGEST_ASKED:
            raise PipelineError(
                f"{self.identity['address']}: answered {why} and asks to wait {asked:,.0f} s; finished calls are kept; "
                "go on with the same command then"
            )
        delay = min(_LONGEST_WAIT, _BACKOFF * 2**attempt) * random.uniform(0.5, 1.5)  # noqa: S311 - no secret
        if asked is not None:
            delay = asked + random.uniform(0, 0.1 * asked)  # noqa: S311
            with self._lock:
                self._not_before = max(self._not_before, time.monotonic() + asked)
        with self._lock:
            self.repeated += 1
        log.debug("%s; again in %.1f s", why, delay)
        self._wait(delay)

    def _wait(self, seconds: float) -> None:
        if self._stopped.wait(seconds) if seconds > 0 else self._stopped.is_set():
            raise StoppedError(f"{self.identity['address']}: stopped while waiting to call it again")

    def _refusal(self, error: Any) -> PipelineError:
        """A call that no repetition helps; servers quote parts of the key in such messages."""
        said = error.body.get("message") if isinstance(error.body, dict) else None
        said = self._without_key(" ".join(str(said or error.message).split()))[:_LONGEST_QUOTE]
        hint = f"; set {KEY}" if error.status_code in (401, 403) else ""
        if error.status_code == 400:
            hint = "; options that it does not know are left out by --request '{\"seed\": null}' and their like"
        return PipelineError(f"{self.identity['address']}: refused the call, HTTP {error.status_code}: {said}{hint}")

    def _without_key(self, text: str) -> str:
        if not self._key:
            return text
        text = text.replace(self._key, "***")
        # Masked keys begin and end as the key does.
        masked = [word for word in text.split() if "*" in word and self._key[:3] in word]
        for word in masked:
            text = text.replace(word, "***")
        return text


def _read(found: Any) -> Answer:
    """The answer in what the client hands over.

    Raises:
        ValueError: there is none in it.
    """
    choices = getattr(found, "choices", None)
    if not isinstance(choices, list) or not choices:
        raise ValueError("no choices in it")
    choice = choices[0]
    refusal = getattr(choice.message, "refusal", None)
    text = choice.message.content
    if not isinstance(text, str) or not (text.strip() or refusal):
        if not refusal:
            raise ValueError("an empty message")
        text = ""
    usage = getattr(found, "usage", None)
    counts = [getattr(usage, name, None) for name in ("prompt_tokens", "completion_tokens")]
    tokens_in, tokens_out = (n if isinstance(n, int) and n >= 0 else None for n in counts)
    finish = choice.finish_reason
    return Answer(
        text, finish if isinstance(finish, str) else None, refusal if isinstance(refusal, str) else None,
        tokens_in, tokens_out,
    )  # fmt: skip


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that the server asks to wait, given in seconds or as a date; None where it does not."""
    if (milliseconds := headers.get("retry-after-ms")) is not None:
        try:
            return max(0.0, float(milliseconds) / 1000)
        except ValueError:
            pass
    value = headers.get("retry-after")
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        moment = email.utils.parsedate_tz(value)
        if moment is None:
            return None
        seconds = email.utils.mktime_tz(moment) - time.time()
    return max(0.0, seconds) if seconds == seconds else None
