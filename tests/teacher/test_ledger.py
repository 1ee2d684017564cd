import json
import threading
from pathlib import Path

import pytest

from pipeline.errors import PipelineError, StoppedError
from pipeline.teacher.asking import Answer, Request
from pipeline.teacher.ledger import Budget, Ledger, Prices

REQUEST = Request("write", "system", {"order": "ordér"}, 100, 1.0, 7)
TEACHER = {"model": "m"}


def ledger(folder: Path, prices: Prices | None = None, budget: Budget | None = None) -> Ledger:
    return Ledger(folder, prices or Prices(), budget or Budget())


def test_what_is_kept_is_found_again(tmp_path: Path) -> None:
    first = ledger(tmp_path)
    answers = {"a": Answer("text \ud800\u2028", "stop", None, 10, 5), "b": Answer("", None, "no")}
    first.keep(answers)
    second = ledger(tmp_path)
    assert second.find("b") == answers["b"]
    found = second.find("a")
    assert found is not None
    assert (found.tokens_in, found.tokens_out, found.finish) == (10, 5, "stop")
    assert second.calls == len(second) == 2
    assert second.find("c") is None


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_a_cut_last_line_does_not_count_and_spoils_nothing(tmp_path: Path, cut: int) -> None:
    first = ledger(tmp_path)
    for name in "abc":
        first.keep({name: Answer(name * 40, tokens_in=1, tokens_out=1)})
    content = first.path.read_bytes()
    first.path.write_bytes(content[:-cut])
    second = ledger(tmp_path)
    assert (second.find("b"), second.find("c")) == (Answer("b" * 40, tokens_in=1, tokens_out=1), None)
    second.keep({"c": Answer("again", tokens_in=1, tokens_out=1)})
    third = ledger(tmp_path)
    assert third.find("c") == Answer("again", tokens_in=1, tokens_out=1)
    assert all(json.loads(line) for line in third.path.read_text(encoding="utf-8").splitlines())


@pytest.mark.parametrize(
    "line",
    [
        *("", "null", "[]", "{}", "{", '{"key": 1, "text": "a"}', '{"key": "z"}', '{"key": "z", "text": 1}'),
        '{"key": "z", "text": "a", "refusal": 1}',
        '{"key": "z", "text": "a", "tokens_in": "1", "tokens_out": 1}',
        '{"key": "z", "text": "a", "tokens_in": 1, "tokens_out": -1}',
        f'{{"key": "z", "text": "a", "tokens_in": 1{"0" * 400}, "tokens_out": 1}}',
    ],
)
def test_a_damaged_line_is_a_call_to_make_again(tmp_path: Path, line: str) -> None:
    first = ledger(tmp_path)
    first.keep({"a": Answer("a")})
    with first.path.open("a", encoding="utf-8") as file:
        file.write(f"{line}\n" + '{"key": "b", "text": "b"}\n')
    second = ledger(tmp_path, Prices(1.0, 1.0))
    assert (second.find("a"), second.find("b"), second.find("z")) == (Answer("a"), Answer("b"), None)


def test_the_key_names_all_that_decides_the_answer() -> None:
    others = [
        (Request("label", "system", {"order": "ordér"}, 100, 1.0, 7), TEACHER),
        (Request("write", "system ", {"order": "ordér"}, 100, 1.0, 7), TEACHER),
        (Request("write", "system", {"order": "other"}, 100, 1.0, 7), TEACHER),
        (Request("write", "system", {"order": "ordér"}, 101, 1.0, 7), TEACHER),
        (Request("write", "system", {"order": "ordér"}, 100, None, 7), TEACHER),
        (Request("write", "system", {"order": "ordér"}, 100, 1.0, 8), TEACHER),
        (REQUEST, {"model": "n"}),
    ]
    keys = {request.key(teacher) for request, teacher in others}
    assert len(keys) == len(others)
    assert REQUEST.key(TEACHER) not in keys
    assert REQUEST.key(TEACHER) == Request("write", "system", {"order": "ordér"}, 100, 1.0, 7).key({"model": "m"})


def test_cost_is_tokens_times_prices_and_unknown_without_them(tmp_path: Path) -> None:
    priced = ledger(tmp_path, Prices(2.0, 8.0))
    assert priced.cost == 0
    priced.keep({"a": Answer("a", tokens_in=1_000_000, tokens_out=500_000)})
    assert priced.cost == pytest.approx(6.0)
    assert ledger(tmp_path, Prices(2.0, 8.0)).cost == pytest.approx(6.0)
    assert ledger(tmp_path).cost is None
    assert ledger(tmp_path).to_json()["cost"] == "unknown"
    priced.keep({"b": Answer("b")})
    assert priced.cost is None
    assert priced.to_json()["tokens_in"] is None


def test_calls_are_bounded_those_of_earlier_starts_included(tmp_path: Path) -> None:
    ledger(tmp_path).keep({"a": Answer("a"), "b": Answer("b")})
    bounded = ledger(tmp_path, budget=Budget(max_calls=4))
    with bounded.reserved(1, 0, 0):
        pass
    with pytest.raises(RuntimeError), bounded.reserved(1, 0, 0):
        raise RuntimeError  # a call that failed is given back
    with (
        bounded.reserved(1, 0, 0),
        pytest.raises(StoppedError, match="larger --max_calls"),
        bounded.reserved(1, 0, 0),
    ):
        pass
    assert bounded.calls == 4


def test_no_call_is_begun_that_could_cost_too_much(tmp_path: Path) -> None:
    prices = Prices(1_000_000.0, 1_000_000.0)  # a token costs 1
    most = (100, 60)
    bounded = ledger(tmp_path, prices, Budget(max_cost=2 * sum(most) + 10))
    begun = threading.Event()

    def third() -> None:
        with bounded.reserved(1, *most):
            begun.set()

    with bounded.reserved(1, *most):
        with bounded.reserved(1, *most):
            waiting = threading.Thread(target=third)
            waiting.start()
            assert not begun.wait(0.2)  # two calls could cost nearly all
            bounded.keep({"a": Answer("a", tokens_in=5, tokens_out=5)})
        assert begun.wait(5)  # the second has cost less
    waiting.join()
    bounded.keep({"c": Answer("c", tokens_in=sum(most) + 1, tokens_out=0)})
    with pytest.raises(StoppedError, match="larger --max_cost"), bounded.reserved(1, *most):
        pass


def test_a_budget_without_counted_tokens_is_refused(tmp_path: Path) -> None:
    bounded = ledger(tmp_path, Prices(1.0, 1.0), Budget(max_cost=5))
    with pytest.raises(PipelineError, match="bound the calls instead"):
        bounded.keep({"a": Answer("a")})
    assert ledger(tmp_path).find("a") == Answer("a")  # it is paid for all the same
    again = ledger(tmp_path, Prices(1.0, 1.0), Budget(max_cost=5))
    with pytest.raises(PipelineError, match="bound the calls instead"), again.reserved(1, 0, 0):
        pytest.fail("one more call was begun")


def test_a_call_that_is_written_down_twice_costs_once(tmp_path: Path) -> None:
    first = ledger(tmp_path, Prices(1.0, 1.0))
    for text in ("one", "other"):
        first.keep({"a": Answer(text, tokens_in=3, tokens_out=4)})
    for each in (first, ledger(tmp_path, Prices(1.0, 1.0))):
        assert each.find("a") == Answer("other", tokens_in=3, tokens_out=4)
        assert (each.tokens_in, each.tokens_out, len(each)) == (3, 4, 1)
