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
from pipeline.teacher.asking import Answer, Request, is_count
from pipeline.text import clean

log = logging.getLogger("pipeline.distill")

KEY = "OPENAI_API_KEY"
_BACKOFF = 1.0  # seconds before the first repetition; each further one waits twice as long
_LONGEST_WAIT = 60.0
_LONGEST_ASKED = 600.0  # a server that asks for more is told of, not waited for
_LONGEST_QUOTE = 160
_AGAIN = (408, 409, 425, 429)
# No waiting helps.
_EXHAUSTED = ("insufficient_quota", "billing_hard_limit_reached")
_BOUNDS = ("max_tokens", "max_completion_tokens")  # what endpoints call the most tokens that an answer may have
_OVERHEAD = 64  # tokens that an endpoint puts around a call


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
        whole = bool(parts.hostname) and (parts.port or 0) >= 0 and address.isprintable() and " " not in address
    except ValueError:
        whole = False
    if not whole:
        raise PipelineError(
            "--teacher: expected an address such as https://api.openai.com/v1, got one without a host, with a wrong "
            "port, or with characters that no address has"
        )
    if parts.username or parts.password or parts.query or parts.fragment:
        raise PipelineError(
            f"--teacher: expected an address alone, got a user, password, query or fragment in it; the key belongs "
            f"into the environment, {KEY}"
        )


def most_of_an_answer(extra: Mapping[str, Any], usual: int) -> int | None:
    """The most tokens that an answer may have, when ``extra`` is laid over the body of a call; None without a bound.

    Args:
        extra: as in ``Endpoint``.
        usual: what a call says without it.
    """
    body = {"max_tokens": usual, **extra}
    bounds = [bound for name in _BOUNDS if (bound := body.get(name)) is not None]
    return max(bounds) if bounds and all(map(is_count, bounds)) else None


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
        PipelineError: the package openai is missing, or the address or the key can be none.
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
                "the package openai is not installed, by which --teacher URL is called; pip install -e "
                "'.[distill]' in the clone"
            ) from error
        check_address(address)
        self.name = model
        self.identity: Mapping[str, Any] = {"address": address.rstrip("/"), "model": model, "extra": dict(extra)}
        self.workers = workers
        self._openai = openai
        self._extra = extra
        self._retries = retries
        self._key = os.environ.get(KEY, "").strip()
        if not (self._key.isascii() and self._key.isprintable()):
            # A client would quote it where it says that it cannot be sent.
            raise PipelineError(f"{KEY}: expected letters, digits and signs alone, got other characters; set it again")
        try:
            self._client = openai.OpenAI(
                # Servers on one's own machine want no key, but the client wants a text.
                api_key=self._key or "none",
                base_url=address.rstrip("/"),
                timeout=timeout,
                max_retries=0,
                # Tweets go to the address that was named, and to no other.
                http_client=openai.DefaultHttpxClient(follow_redirects=False),
            )
        except Exception as error:  # its errors for addresses are of another package
            raise PipelineError(f"--teacher: expected an address; {first_line(error)}") from error
        self._stopped = threading.Event()
        self._not_before = 0.0
        self._lock = threading.Lock()

    def stop(self) -> None:
        """Calls that wait to be repeated give up."""
        self._stopped.set()

    def most_tokens(self, request: Request) -> tuple[int, int]:
        """The most tokens that a call can take and give: of its body no token is shorter than a byte."""
        told = len(json.dumps(self._body(request), ensure_ascii=False).encode(errors="surrogatepass"))
        return told + _OVERHEAD, most_of_an_answer(self._extra, request.max_tokens) or 0

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
            while (rest := self._not_before - time.monotonic()) > 0:  # others may be told to wait meanwhile
                self._wait(rest)
            self._wait(0)
            asked = None
            try:
                return _read(self._client.chat.completions.create(**body))
            except self._openai.APIStatusError as error:
                if error.status_code not in _AGAIN and error.status_code < 500:
                    raise self._refusal(error) from None
                if error.code in _EXHAUSTED or error.type in _EXHAUSTED:
                    raise self._refusal(error) from None
                why = f"HTTP {error.status_code}"
                asked = _retry_after(error.response.headers)
            except self._openai.APITimeoutError:
                why = "no answer in time"
            except self._openai.APIConnectionError as error:
                why = f"no connection, or one that broke: {first_line(error.__cause__ or error)}"
            except (self._openai.OpenAIError, ValueError, TypeError, AttributeError, RecursionError) as error:
                why = f"a body that is no answer: {first_line(error)}"
            why = self._quoted(why)
            if attempt == self._retries:
                raise PipelineError(
                    f"{self.identity['address']}: expected an answer, got {why}, {attempt + 1} times in a row; "
                    "go on with the same command when it answers again"
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
                f"{self.identity['address']}: answered {why} and asks to wait {asked:,.0f} s; go on with the same "
                "command then"
            )
        delay = min(_LONGEST_WAIT, _BACKOFF * 2**attempt) * random.uniform(0.5, 1.5)  # noqa: S311 - no secret
        if asked is not None:
            # Some ask for no wait at all, and mean it as little as the next time.
            delay = max(delay, asked + random.uniform(0, 0.1 * asked))  # noqa: S311
            with self._lock:
                self._not_before = max(self._not_before, time.monotonic() + asked)
        log.debug("%s; again in %.1f s", why, delay)
        self._wait(delay)

    def _wait(self, seconds: float) -> None:
        if self._stopped.wait(seconds) if seconds > 0 else self._stopped.is_set():
            raise StoppedError(f"{self.identity['address']}: stopped while waiting to call it again")

    def _refusal(self, error: Any) -> PipelineError:
        """A call that no repetition helps."""
        said = error.body.get("message") if isinstance(error.body, dict) else None
        said = self._quoted(str(said or error.message))
        hint = f"; set {KEY}" if error.status_code in (401, 403) else ""
        if error.status_code < 400:
            hint = "; it sends calls elsewhere, where none are sent unasked: give that address"
        if error.status_code == 400:
            hint = "; options that it does not know are left out by --request '{\"seed\": null}' and their like"
        return PipelineError(f"{self.identity['address']}: refused the call, HTTP {error.status_code}: {said}{hint}")

    def _quoted(self, said: str) -> str:
        """What a server says, in one short line without control characters; some quote parts of the key."""
        words = clean(said[: 100 * _LONGEST_QUOTE]).split()
        if self._key:
            # Masked keys begin and end as the key does.
            masked = ["***" if "*" in word and self._key[:3] in word else word for word in words]
            words = [word.replace(self._key, "***") for word in masked]
        return " ".join(words)[:_LONGEST_QUOTE]


def _read(found: Any) -> Answer:
    """The answer in what the client hands over; one without a text has an empty one, and is paid for all the same.

    Raises:
        ValueError: there is none in it.
    """
    choices = getattr(found, "choices", None)
    if not isinstance(choices, list) or not choices:
        raise ValueError("no choices in it")
    message, usage = choices[0].message, getattr(found, "usage", None)
    counts = [getattr(usage, name, None) for name in ("prompt_tokens", "completion_tokens")]
    tokens_in, tokens_out = (n if is_count(n) else None for n in counts)
    said = (message.content, getattr(choices[0], "finish_reason", None), getattr(message, "refusal", None))
    text, finish, refusal = (each if isinstance(each, str) else None for each in said)
    return Answer(text or "", finish, refusal, tokens_in, tokens_out)


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
        try:
            seconds = email.utils.mktime_tz(moment) - time.time()
        except (ValueError, OverflowError):  # a year that no calendar has
            return None
    return max(0.0, seconds) if seconds == seconds else None
