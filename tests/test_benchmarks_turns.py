"""What the benchmarks of training and of labelling share: who runs, in which order, and what tables say of it."""

import logging
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from benchmarks import turns
from pipeline.errors import PipelineError


@dataclass(frozen=True)
class Program:
    python: str | None


KNOWN = {"other": Program(None), "ours": Program(sys.executable)}


def lacking(program: Program) -> str | None:
    return None if program.python else "no interpreter"


def test_who_cannot_run_is_told(tmp_path: Path) -> None:
    record: dict[str, Any] = {}
    assert list(turns.chosen(["other", "ours"], KNOWN, lacking, tmp_path, {}, record)) == ["ours"]
    assert (record["skipped"], record["rounds"]) == ({"other": "no interpreter"}, {"ours": []})
    assert "numpy" not in record["packages"]["ours"]
    assert "torch" in record["packages"]["ours"]
    with pytest.raises(PipelineError, match="none of them can run: no interpreter"):
        turns.chosen(["other"], KNOWN, lacking, tmp_path, {}, record)
    with pytest.raises(PipelineError, match="expected some of other, ours; got theirs"):
        turns.refuse_unknown(["ours", "theirs"], KNOWN)


def test_another_program_begins_each_round() -> None:
    found = list(turns.in_turn(["a", "b", "c"], 4))
    assert "".join(name for _, name in found) == "abcbcacababc"
    assert [number for number, _ in found] == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]


def test_the_settings_of_a_trial_are_kept_and_told() -> None:
    record: dict[str, Any] = {"settings": {}, "trials": {}}
    tried = [{"settings": {"compiled": flag}, "seconds": seconds} for flag, seconds in ((True, 4.25), (False, 2.0))]
    told = turns.settle(KNOWN, lambda name, _: ({"compiled": False}, tried if name == "other" else []), record,
                        logging.getLogger("test"))  # fmt: skip
    assert list(told) == [None]
    assert record["settings"] == {"other": {"compiled": False}, "ours": {"compiled": False}}
    assert list(turns.notes(record, {"other": "Theirs"})) == [
        "* Theirs ran with compiled false, the fastest in a trial: compiled false 2.0 s; compiled true 4.2 s"
    ]


def test_ours_is_held_against_each_round_of_another() -> None:
    rounds = {
        name: [{"tweets_per_second": each} for each in speeds] for name, speeds in (("a", (1, 2, 4)), ("b", (3, 8, 4)))
    }
    assert turns.faster({"rounds": rounds}, "b", "a") == ("2.00", "1.00 to 4.00")
    assert turns.faster({"rounds": rounds}, "gone", "a") == ("", "")
