"""The command beside an endpoint of the tests' own, and what came out."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

from teacher_server import TeacherServer

from pipeline import distill
from pipeline.artifacts import PreparedDataset, Row, read_jsonl
from pipeline.distill import DistillConfig

ROOT = Path(__file__).resolve().parents[1]
KEY = "sk-proj-very-secret-0123456789"
LONG_TWEET = "the exchange has been down for five hours and support has not said a word about it"


def config(prepared: Path, server: TeacherServer, out: Path, **options: Any) -> DistillConfig:
    known: dict[str, Any] = {"model": "teacher", "scenes": "bitcoin", "any_language": True, "timeout": 10.0}
    known |= {"write": 6, "label": ["Negative"]}
    return DistillConfig(dataset=str(prepared), out=str(out), teacher=server.address, **{**known, **options})


def grown(prepared: Path, server: TeacherServer, out: Path, **options: Any) -> PreparedDataset:
    return PreparedDataset.load(distill.distill(config(prepared, server, out, **options)))


def new_rows(dataset: PreparedDataset) -> list[Row]:
    return [row for row in dataset.rows("train") if row.synthetic]


def reasons(dataset: PreparedDataset) -> Counter[str]:
    return Counter(row["reason"] for row in read_jsonl(dataset.folder / "dropped.jsonl"))


def tweets_file(path: Path, texts: list[str], labels: list[str] | None = None) -> Path:
    rows = [{"tweet": text} | ({"sentiment": labels[i]} if labels else {}) for i, text in enumerate(texts)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path
