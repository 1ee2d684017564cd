"""The folder that ``pipeline.distill`` writes: the parent's, with more rows in train and all that follows from them."""

import csv
import dataclasses
import hashlib
import random
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.artifacts import (
    MANIFEST,
    PreparedDataset,
    Row,
    changes,
    dump_jsonl,
    dump_rows,
    new_folder,
    read_json,
    read_jsonl,
    sha256_of,
    write_manifest,
    write_text,
)
from pipeline.errors import PipelineError
from pipeline.growing import WRITTEN, Grown

if TYPE_CHECKING:
    from pipeline.dataset.annotating import Unlabelled
    from pipeline.distill import DistillConfig
    from pipeline.teacher.desk import Desk
    from pipeline.teacher.scenes import Scenes

DROPPED, _TRACES = "dropped.jsonl", "distilled.jsonl"
_BATCH_SIZE = 8  # as pipeline.prepare has it
# Rows of a class that the page shows of each split, real and synthetic; it shows eight in all.
_SAMPLES = {False: 2, True: 4}
# Options that are told elsewhere, or that decide nothing of the result.
_ELSEWHERE = (
    *("dataset", "out", "teacher", "annotate", "scenes", "price_in", "price_out"),
    *("concurrency", "timeout", "retries", "max_calls", "max_cost"),
)
# Files of a prepared folder that are about its real rows, and stay as they are.
_KEPT = ("val.json", "test.json", "rejected.jsonl", "conflicts.jsonl", "suspects.csv", "against.jsonl")


@dataclass(frozen=True)
class Growth:
    """What was done: tweets ``amounts`` wanted of each class, what came of it, and the agreement on validation rows.

    ``scenes`` and ``found``, the tweets of a file, are None where none were used. Both are as they were read, whatever
    became of their files meanwhile.
    """

    grown: Grown
    agreed: dict[str, Any] | None
    amounts: Mapping[str, int]
    scenes: "Scenes | None"
    found: "Unlabelled | None"


def reasons(grown: Grown) -> dict[str, int]:
    """Reason -> number of new texts that were not used for it."""
    from pipeline.dataset.summary import count_reasons

    return count_reasons(grown.dropped)


def write_folder(
    config: "DistillConfig",
    out: Path,
    dataset: PreparedDataset,
    rows: Mapping[str, Sequence[Row]],
    desk: "Desk",
    growth: Growth,
) -> dict[str, Any]:
    """Writes the new folder; gives the content of its manifest.

    Args:
        config: the options of the command.
        out: the folder; it must not exist yet.
        dataset: the parent.
        rows: its splits.
        desk: the teacher, with what it was paid for.
        growth: what came of it.
    """
    grown = growth.grown
    next_group = 1 + max((row.group for part in rows.values() for row in part), default=-1)
    new = [
        Row(e.id, dataset.task.instruction, e.text, e.label, next_group + i, True, desk.teacher.name)
        for i, e in enumerate(grown.kept)
    ]
    train = [*rows["train"], *new]
    content = _content(dataset, rows, train, _step(config, desk, growth))
    with new_folder(out) as folder:
        for name in _KEPT:
            if name in dataset.manifest["files"]:
                shutil.copyfile(dataset.verified(name), folder / name)
        write_text(folder / "train.json", dump_rows(row.to_json() for row in train))
        dropped = [row.to_json() for row in grown.dropped]
        write_text(folder / DROPPED, dump_jsonl([*lines_of(dataset, DROPPED), *dropped]))
        traces = [
            {"id": row.id, "label": row.output, "teacher": row.teacher, **grown.traces.get(row.id, {})} for row in new
        ]
        write_text(folder / _TRACES, dump_jsonl([*lines_of(dataset, _TRACES), *traces]))
        if growth.scenes is not None:
            (folder / "scenes.yaml").write_bytes(growth.scenes.source)
        _write_pages(config, folder, dataset, content, {**rows, "train": train})
        write_manifest(folder, PreparedDataset.kind, dataset.task, content)
    return content


def keep_dropped(folder: Path, grown: Grown) -> Path:
    """The list of what was not used, where no folder is written that it could stand in."""
    path = folder / DROPPED
    write_text(path, dump_jsonl(row.to_json() for row in grown.dropped))
    return path


def lines_of(dataset: PreparedDataset, name: str) -> list[Any]:
    """The lines of a file that the parent may lack."""
    return read_jsonl(dataset.verified(name)) if name in dataset.manifest["files"] else []


def _step(config: "DistillConfig", desk: "Desk", growth: Growth) -> dict[str, Any]:
    """What the manifest says of this growth."""
    from pipeline.teacher.asking import prompts_sha256

    grown, scenes, found = growth.grown, growth.scenes, growth.found
    return {
        "how": "written" if config.annotate is None else "labelled",
        "teacher": {"name": desk.teacher.name, **desk.teacher.identity},
        "scenes": scenes and {"file": scenes.file, "sha256": hashlib.sha256(scenes.source).hexdigest()},
        "source": found and {"file": config.annotate, "sha256": found.sha256},
        "prompts_sha256": prompts_sha256([] if scenes is None else scenes.prompts),
        "wanted": dict(growth.amounts) or None,
        "asked": grown.asked or None,
        "added": dict(Counter(example.label for example in grown.kept)),
        "dropped": reasons(grown),
        "agreement": {"validation": growth.agreed, "source": grown.agreement},
        "cost": desk.ledger.to_json(),
        "options": _options(config),
    }


def _options(config: "DistillConfig") -> dict[str, Any]:
    return {name: value for name, value in dataclasses.asdict(config).items() if name not in _ELSEWHERE}


def is_finished(config: "DistillConfig", out: Path, dataset: PreparedDataset, scenes: Path | None) -> bool:
    """Whether this command has made the folder already. What decides nothing of the result does not count, nor paths.

    Args:
        config: the options of the command.
        out: the folder.
        dataset: the parent.
        scenes: the file of the scenes.

    Raises:
        PipelineError: the command has made it, but with other options; the message lists them.
    """
    manifest = read_json(out / MANIFEST) if (out / MANIFEST).is_file() else None
    steps = manifest.get("distilled") if isinstance(manifest, dict) else None
    if not isinstance(manifest, dict) or not steps:
        return False
    step, options = steps[-1], _options(config)
    key, teacher = _named(config.teacher)
    before = {
        "dataset": manifest["parents"]["dataset"]["sha256"],
        "teacher": step["teacher"].get(key),
        "scenes": step["scenes"] and step["scenes"]["sha256"],
        "annotate": step["source"] and step["source"]["sha256"],
        # What an older version did not know does not count.
        **{name: value for name, value in step["options"].items() if name in options},
    }
    now = {
        **options,
        "dataset": dataset.sha256,
        "teacher": teacher,
        "scenes": scenes and sha256_of(scenes),
        "annotate": config.annotate and sha256_of(Path(config.annotate)),
    }
    if changed := changes(before, {name: value for name, value in now.items() if name in before}):
        raise PipelineError(
            f"{out}: already exists, and was made with other options: {', '.join(changed)}; choose another --out, or "
            "remove it"
        )
    return True


def _named(teacher: str) -> tuple[str, str]:
    """What a manifest says of a teacher: under which key, and the value there."""
    from pipeline.model.base import folder_fingerprint
    from pipeline.teacher.endpoint import is_address

    path = Path(teacher)
    if is_address(teacher):
        return "address", teacher.rstrip("/")
    if path.is_dir():
        return "model", folder_fingerprint(path)
    return ("model", sha256_of(path)) if path.is_file() else ("name", teacher)


def _content(
    dataset: PreparedDataset,
    rows: Mapping[str, Sequence[Row]],
    train: Sequence[Row],
    step: dict[str, Any],
) -> dict[str, Any]:
    """The manifest's content: the parent's, with what the new rows change."""
    from pipeline.dataset.alarms import find_alarms
    from pipeline.dataset.duplicates import group_duplicates
    from pipeline.dataset.leakage import leakage
    from pipeline.dataset.power import describe_imbalance
    from pipeline.dataset.records import Example
    from pipeline.dataset.summary import count_classes

    labels, parent = dataset.task.labels, dataset.manifest
    content = {
        key: value
        for key, value in parent.items()
        if key not in ("schema_version", "kind", "task", "files", "provenance", "alarms")
    }
    parts = {
        name: [Example(row.id, row.input, row.output) for row in part]
        for name, part in {**rows, "train": train}.items()
    }
    synthetic = [row for row in train if row.synthetic]
    content["parents"] = {"dataset": {"path": str(dataset.folder), "sha256": dataset.sha256}}
    content["classes"] = count_classes(parts, labels)
    if "imbalance" in content and all(content["classes"]["train"].values()):
        content["imbalance"] = describe_imbalance(content["classes"]["train"], _BATCH_SIZE)
    if parts["test"]:
        everything = [*parts["train"], *parts["test"]]
        numbers = group_duplicates([example.template for example in everything])
        groups = {example.id: number for example, number in zip(everything, numbers, strict=True)}
        made = leakage(parts["train"], parts["test"], groups).to_json()
        content["leakage"] = {**(content.get("leakage") or {}), "made": made}
    content["synthetic"] = {
        "rows": len(synthetic),
        "of": len(train),
        "classes": {label: sum(row.output == label for row in synthetic) for label in labels},
        "written": sum(row.id.startswith(WRITTEN) for row in synthetic),
        "teachers": dict(Counter(str(row.teacher) for row in synthetic)),
    }
    content["distilled"] = [*(parent.get("distilled") or []), step]
    content["alarms"] = find_alarms(content)
    return content


def _write_pages(
    config: "DistillConfig",
    folder: Path,
    dataset: PreparedDataset,
    content: Mapping[str, Any],
    rows: Mapping[str, Sequence[Row]],
) -> None:
    """The page, the card and the figure again, now of all rows; the synthetic ones are said to be so."""
    from pipeline.dataset.spreadsheet import unguarded
    from pipeline.scoring.data_card import render_data_card
    from pipeline.scoring.data_page import render_data_page
    from pipeline.scoring.figures import class_distribution

    suspects: list[dict[str, Any]] = []
    if "suspects.csv" in dataset.manifest["files"]:
        with dataset.verified("suspects.csv").open(encoding="utf-8-sig", newline="") as file:
            suspects = [
                {name: unguarded(cell) for name, cell in row.items()}
                | {"probability_of_label": float(row["probability_of_label"])}
                for row in csv.DictReader(file)
            ]
    draw = random.Random(config.seed)  # noqa: S311 - a draw, not a secret
    samples = [
        {"split": f"{name}, synthetic" if synthetic else name, "label": label, "id": row.id, "text": row.input}
        for name in ("train", "test")
        for label in dataset.task.labels
        for synthetic in (False, True)
        for own in [[row for row in rows[name] if row.output == label and row.synthetic == synthetic]]
        for row in draw.sample(own, min(len(own), _SAMPLES[synthetic]))
    ]
    context: Any = {
        "rejected": lines_of(dataset, "rejected.jsonl"),
        "conflicts": lines_of(dataset, "conflicts.jsonl"),
        "suspects": suspects,
        "samples": samples,
    }
    write_text(folder / "classes.svg", class_distribution(content["classes"], dataset.task.labels))
    write_text(folder / "data.html", render_data_page(content, context))
    write_text(folder / "README.md", render_data_card(content))
