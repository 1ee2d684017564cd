"""Files of easy tweets, the command that labels them, and what came out."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from conftest import make_rows

from pipeline import predict

PATIENCE = 300  # seconds; what takes longer hangs
LABELS = ("Negative", "Neutral", "Positive")
TWEETS = [row.input for row in make_rows(30, start=300)]


def command(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stopped:
        predict.main([str(argument) for argument in arguments])
    return int(stopped.value.code or 0)


def read_csv(path: Path, delimiter: str = ",", encoding: str = "utf-8") -> list[dict[str, str]]:
    with path.open(encoding=encoding, newline="") as file:
        return list(csv.DictReader(file, delimiter=delimiter))


def read_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def write_csv(path: Path, texts: list[str]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "tweet"])
        writer.writerows([f"{i:04d}", text] for i, text in enumerate(texts))
    return path
