"""The card of a prepared data set: a README that people read, with a head that Hugging Face's ``datasets`` reads."""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePath
from typing import Any

import yaml

from pipeline.scoring.data_page import title_of
from pipeline.scoring.data_sections import LEAKS, contamination_of, labels_of, leaks_of
from pipeline.scoring.page import alarm_name, share_text, visible

# What means something in Markdown within a line, and what would turn an address into a link.
_MARKDOWN = re.compile(r"[\\`*_\[\]<>#|~&@]|:(?=//)|(?<=www)\.", re.IGNORECASE)
# Upper ends; from https://github.com/huggingface/hub-docs/blob/main/datasetcard.md
_SIZES = (
    (10**3, "n<1K"),
    (10**4, "1K<n<10K"),
    (10**5, "10K<n<100K"),
    (10**6, "100K<n<1M"),
    (10**7, "1M<n<10M"),
    (10**8, "10M<n<100M"),
)
_SPLITS = {"val": "validation"}
_BY_MACHINE = ("machine_made", "synthetic_rows")
_FEATURES = {
    **dict.fromkeys(("instruction", "input", "output", "id"), "string"),
    "group": "int64",
    "synthetic": "bool",
    "teacher": "string",
}
_SYNTHETIC = """A teacher model wrote these tweets, or gave them their labels. They are in train alone, marked by
`synthetic` and `teacher`; `distilled.jsonl` says where each is from, `dropped.jsonl` what was not used and why."""
_FIELDS = """Every row of the JSON files has an `instruction`, an `input` (the text), an `output` (its class), an `id`
(its place in the source) and a `group` (near-duplicates of each other share it)."""
_LIMITS = """- No alarm does not mean no fault: only what was measured is told here.
- Two texts that say the same in other words are not found to be copies.
- The rows come from the files above and from nowhere else; other times, topics and people may be harder.
- The rights in the texts are their authors'. This card knows of no licence for them.

`data.html` shows all of this in pictures, with rows to look at; `manifest.json` has every number."""


def render_data_card(content: Mapping[str, Any]) -> str:
    """``README.md`` for the folder of a prepared data set.

    The head names the files of each split, so that ``datasets.load_dataset(folder)`` finds them. Language and licence
    are left out, because nobody told them.

    Args:
        content: the prepared data set's manifest; a part whose facts are missing is left out.
    """
    head = yaml.safe_dump(_head(content), sort_keys=False, allow_unicode=True, width=float("inf"))
    parts = [
        f"---\n{head}---",
        f"# {inline(title_of(content))}",
        _summary(content),
        _alarms(content),
        _classes(content),
        _synthetic(content),
        _making(content),
        _leakage(content),
        f"## Limits\n\n{_LIMITS}",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _head(content: Mapping[str, Any]) -> dict[str, Any]:
    splits = list(content.get("classes") or ("train", "val", "test"))
    head: dict[str, Any] = {
        "pretty_name": " ".join(visible(title_of(content), 100).split()),
        "task_categories": ["text-classification"],
    }
    if content.get("rows"):
        kept = _rows_of(content)
        head["size_categories"] = [next((name for end, name in _SIZES if kept < end), "100M<n<1B")]
    if any(alarm["kind"] in _BY_MACHINE for alarm in content.get("alarms", [])):
        head["annotations_creators"] = ["machine-generated"]
    if content.get("synthetic"):
        # Two columns are in train alone; without their names here the other splits would be refused.
        head["dataset_info"] = {"features": [{"name": name, "dtype": kind} for name, kind in _FEATURES.items()]}
    files = [{"split": _SPLITS.get(split, split), "path": f"{split}.json"} for split in splits]
    return {**head, "configs": [{"config_name": "default", "data_files": files}]}


def _summary(content: Mapping[str, Any]) -> str:
    labels = ", ".join(inline(label) for label in labels_of(content))
    rows = f"{_rows_of(content):,} short texts" if content.get("rows") else "Short texts"
    classes = f", each with one of {len(labels_of(content))} classes: {labels}" if labels else ""
    return f"{rows}{classes}.\n\n{_FIELDS}"


def _rows_of(content: Mapping[str, Any]) -> int:
    """Number of rows of all splits: those kept of the source, and those that a teacher added."""
    return int(content["rows"]["kept"]) + int((content.get("synthetic") or {}).get("rows", 0))


def _synthetic(content: Mapping[str, Any]) -> str:
    """What a teacher added, step by step."""
    steps = content.get("distilled") or []
    if not steps:
        return ""
    rows = [
        (
            inline(step["teacher"]["name"]),
            step["how"],
            sum(step["added"].values()),
            ", ".join(f"{inline(label)} {n:,}" for label, n in step["added"].items()),
            ", ".join(f"{inline(reason)} {n:,}" for reason, n in step["dropped"].items()) or "none",
            _agreed(step),
            inline(step["cost"]["cost"]),
        )
        for step in steps
    ]
    head = ("teacher", "what it did", "rows added to train", "classes", "not used", "agreement with people", "cost")
    return f"## Synthetic rows\n\n{_SYNTHETIC}\n\n{table_of(head, rows)}"


def _agreed(step: Mapping[str, Any]) -> str:
    found = next((each for each in step["agreement"].values() if each and each["n"]), None)
    if found is None:
        return "not measured"
    interval = f"[{found['low']:.2f}, {found['high']:.2f}]"
    return f"{found['accuracy']:.2f} {interval} of {found['n']:,}, kappa {found['kappa']:.2f}"


def _alarms(content: Mapping[str, Any]) -> str:
    if "alarms" not in content:
        return ""
    lines = [f"- **{inline(alarm_name(alarm['kind']))}.** {inline(alarm['text'], 1000)}" for alarm in content["alarms"]]
    return "## Before you trust a score\n\n" + ("\n".join(lines) or "No check raised an alarm.")


def _classes(content: Mapping[str, Any]) -> str:
    counts = content.get("classes")
    if not counts:
        return ""
    rows = [(inline(label), *(row.get(label, 0) for row in counts.values())) for label in labels_of(content)]
    return "## Classes\n\n" + table_of(("class", *map(inline, counts)), rows)


def _making(content: Mapping[str, Any]) -> str:
    parts = []
    source = content.get("source") or {}
    files = [file for file in source.get("files") or [source] if file.get("path")]
    if files:
        rows = [(inline(_name(file["path"])), file.get("rows", ""), inline(file.get("sha256") or "")) for file in files]
        parts.append(table_of(("file", "rows", "sha256"), rows))
    if rows_of := content.get("rows"):
        dropped = {"rejected": rows_of.get("rejected", 0), **(rows_of.get("dropped") or {})}
        steps = [(inline(reason), n) for reason, n in dropped.items() if n]
        synthetic = (content.get("synthetic") or {}).get("rows")
        added = [("synthetic, added", synthetic), ("all", _rows_of(content))] if synthetic else []
        table = table_of(("rows", "number"), [("read", rows_of["read"]), *steps, ("kept", rows_of["kept"]), *added])
        parts.append("From the rows read to the rows kept:\n\n" + table)
    return "## How it was made\n\n" + "\n\n".join(parts) if parts else ""


def _name(path: str) -> str:
    """The name of a file without its folders, which are nobody else's business; a data set's name on a hub is whole."""
    return path if path.startswith("hf:") else PurePath(path).name


def _leakage(content: Mapping[str, Any]) -> str:
    tables = (
        ("Copies across the split", "Share of test rows with a copy in train:", leaks_of(content)),
        ("Copies in another file", "Share of each split's rows with a copy in that file:", contamination_of(content)),
    )
    parts = []
    for title, intro, found in tables:
        rows = [(inline(name), *(share_text(shares[kind]) for kind in LEAKS)) for name, shares in found.items()]
        if rows:
            parts.append(f"## {title}\n\n{intro}\n\n{table_of(('split', *LEAKS), rows)}")
    return "\n\n".join(parts)


def table_of(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table, numbers to the right; its texts must have been through ``inline``."""
    body = [[f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in row] for row in rows]
    lines = [head, ["---", *("---:" for _ in head[1:])], *body]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def inline(text: object, cap: int = 200) -> str:
    """Foreign text as one line that Markdown takes literally."""
    return _MARKDOWN.sub(lambda match: "\\" + match[0], " ".join(visible(text, cap).split()))
