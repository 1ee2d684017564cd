"""What each section of the data page shows, from the manifest and the rows beside it; None without the facts for it."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePath
from typing import Any, NamedTuple, TypedDict

from pipeline.scoring import data_figures as draw
from pipeline.scoring import page
from pipeline.scoring.figures import intervals

SUSPECTS_UNFOLDED = 20
LISTED_UNFOLDED = 5
# More stands in the files beside the page.
LISTED = 100
SAMPLES_A_CLASS = 8
# Classes whose sample rows are open to see when the page opens.
_CLASSES_UNFOLDED = 6
LEAKS = ("exact", "template", "near")
_LEAKS = {"made": "this split", "official_split": "your files as they are"}
# How much of a date tells where a bin of the time line starts.
_START = {"hour": len("2018-03-23 00:00"), "month": len("2018-03"), "year": len("2018")}
_LEXICONS = {"textblob": "TextBlob", "vader": "VADER"}
_DUPLICATES = {
    "usable_rows": "Usable rows",
    "templates": "Texts that differ in more than names, links, numbers, case and punctuation",
    "groups": "Groups of near-duplicates",
    "rows_in_groups_of_two_or_more": "Rows in groups of two or more",
    "conflicting": "Rows left out because copies have other labels",
    "policy": "How many of a text were kept",
    "conflicts_policy": "Which label holds where copies differ",
}
# What of the manifest has a place of its own; all else is listed under how it was made.
_SHOWN_APART = {
    *("rows", "rejected", "classes", "duplicates", "leakage", "splits", "lengths", "timeline", "imbalance", "power"),
    *("labels", "alarms", "source"),
}


class DataContext(TypedDict, total=False):
    """What the page shows besides the manifest; every key may be missing.

    ``title`` is the heading. The rest are rows: ``samples`` (split, label, id, text),
    ``suspects`` (id, label, suggested, probability_of_label, text), ``conflicts`` (text, label_counts, outcome) and
    ``rejected`` (file, line, reason, content).
    """

    title: str
    samples: Sequence[Mapping[str, Any]]
    suspects: Sequence[Mapping[str, Any]]
    conflicts: Sequence[Mapping[str, Any]]
    rejected: Sequence[Mapping[str, Any]]


class Section(NamedTuple):
    """``heading`` is its name in the list of sections; ``view`` gives what it shows, or None."""

    heading: str
    view: Callable[[Mapping[str, Any], DataContext], Any]


def labels_of(content: Mapping[str, Any]) -> list[str]:
    """The classes in their order, as the counts have them."""
    return list(dict.fromkeys(label for counts in (content.get("classes") or {}).values() for label in counts))


def leaks_of(content: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Name of a way to split, in words -> what it leaks from train to test."""
    found = content.get("leakage") or {}
    return {
        _LEAKS.get(name, name.replace("_", " ")): shares
        for name, shares in found.items()
        if shares and not name.startswith("against")
    }


def contamination_of(content: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Split -> which of its rows are in the other file."""
    found = content.get("leakage") or {}
    names = {"against": "test", "against_train": "train", "against_val": "val"}
    return {split: found[name] for name, split in names.items() if found.get(name)}


def _at(content: Mapping[str, Any], *path: str) -> Any:
    """The value at the end of the path; None where a part of it is missing."""
    value: Any = content
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _rows(content: Mapping[str, Any], context: DataContext) -> dict[str, Any] | None:
    rows = content.get("rows")
    if not rows:
        return None
    steps = [("rejected", rows["rejected"])] if rows.get("rejected") else []
    steps += list((rows.get("dropped") or {}).items())
    synthetic = _at(content, "synthetic", "rows") or 0
    return {
        "read": rows["read"],
        "kept": rows["kept"],
        "synthetic": synthetic,
        "all": rows["kept"] + synthetic,
        "steps": [(reason, n, n / max(1, rows["read"])) for reason, n in steps],
        "share": rows["kept"] / max(1, rows["read"]),
        "figure": page.trusted(draw.waterfall(rows["read"], steps, rows["kept"], synthetic)),
    }


def _classes(content: Mapping[str, Any], context: DataContext) -> dict[str, Any] | None:
    labels = labels_of(content)
    counts = content.get("classes")
    if not counts or not labels:
        return None
    how = content.get("splits") or {}
    table = [(label, [row.get(label, 0) for row in counts.values()]) for label in labels]
    total = sum(sum(row) for _, row in table)
    return {
        "splits": list(counts),
        "table": [(label, row, sum(row), sum(row) / max(1, total)) for label, row in table],
        "sums": [sum(row.values()) for row in counts.values()],
        "total": total,
        "smallest": min(((sum(row), label) for label, row in table), key=lambda pair: pair[0]),
        "how": how,
        "folds": _at(content, "splits", "folds", "n"),
        "fold": _at(content, "splits", "folds", "fold"),
        "own": _own(content),
        "later_copies": [(split, n) for split, n in (how.get("later_copies") or {}).items() if n],
        "figure": page.trusted(draw.class_bars(counts, labels)),
    }


def _own(content: Mapping[str, Any]) -> dict[str, str]:
    """Split -> the user's own file that it was read from."""
    sources = {split: _at(content, "options", f"{split}_source") for split in ("val", "test")}
    return {split: PurePath(source).name for split, source in sources.items() if source}


def _leakage(content: Mapping[str, Any], context: DataContext) -> dict[str, Any] | None:
    splits = {name: found for name, found in (content.get("leakage") or {}).items() if found}
    named = leaks_of(content)
    if not named:
        return None
    return {
        "splits": named,
        "made": splits.get("made"),
        "random": splits.get("random_split"),
        "official": "official_split" in splits,
        "figure": page.trusted(draw.gauge(_shares(named), "leakage")),
    }


def _contamination(content: Mapping[str, Any], context: DataContext) -> dict[str, Any] | None:
    found = contamination_of(content)
    if not found:
        return None
    return {
        "splits": found,
        "file": _at(content, "options", "against"),
        "figure": page.trusted(draw.gauge(_shares(found), "against")),
    }


def _shares(splits: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """The three shares of each split, without the number of rows."""
    return {name: {kind: found[kind] for kind in LEAKS} for name, found in splits.items()}


def _duplicates(content: Mapping[str, Any], context: DataContext) -> dict[str, Any] | None:
    found = content.get("duplicates")
    if not found:
        return None
    campaigns = sorted(found.get("campaigns") or [], key=lambda each: (-each["size"], each["group"]))
    shares = found.get("class_shares_in_copies")
    description = "Share of each class that lies in groups of copies"
    return {
        "facts": [
            (_DUPLICATES.get(name, name), f"{each:,}" if isinstance(each, int) else str(each))
            for name, each in found.items()
            if each is not None and not isinstance(each, list | dict)
        ],
        "all_kept": found.get("policy") == "all",
        "campaigns": _folded(campaigns, LISTED_UNFOLDED),
        "shares": shares,
        "figure": page.trusted(draw.share_bars(shares, "copies", description)) if shares else None,
    }


def _labels(content: Mapping[str, Any], context: DataContext) -> dict[str, Any] | None:
    found = {name: each for name, each in (content.get("labels") or {}).items() if each}
    suspects = sorted(context.get("suspects", ()), key=lambda row: (row["probability_of_label"], str(row["id"])))
    conflicts = sorted(
        context.get("conflicts", ()), key=lambda row: (-sum(row["label_counts"].values()), str(row["text"]))
    )
    if not (found or suspects or conflicts):
        return None
    agreements = sorted((found.get("lexicons") or {}).items(), key=lambda item: (-item[1]["agreement"], item[0]))
    lexicons = {_LEXICONS.get(name, name): {**each, "value": each["agreement"]} for name, each in agreements}
    identity = ("lexicons", "Agreement of the labels with each word list, with its 95 % interval")
    return {
        "lexicons": lexicons,
        "figure": page.trusted(intervals(lexicons, "agreement with the labels", identity)) if lexicons else None,
        "learnable": found.get("learnable"),
        "raters": found.get("raters"),
        "conflicts": _folded(conflicts, LISTED_UNFOLDED),
        "suspects": _folded(suspects, SUSPECTS_UNFOLDED),
        "listed": found.get("suspects"),
        "overrides": found.get("overrides"),
    }


def _lengths(content: Mapping[str, Any], context: DataContext) -> dict[str, Any] | None:
    units = [(unit, found) for unit, found in (content.get("lengths") or {}).items() if found]
    if not units:
        return None
    marks = {
        unit: {mark: found[mark] for mark in ("median", "p95", "limit") if found.get(mark) is not None}
        for unit, found in units
    }
    return {
        "units": units,
        # The last bin takes what is far out, and is drawn as wide as the others.
        "open": [unit for unit, found in units if draw.is_open(found.get("histogram") or [])],
        "figures": {
            unit: page.trusted(draw.histogram(found["histogram"], marks[unit], unit))
            for unit, found in units
            if found.get("histogram")
        },
    }


def _timeline(content: Mapping[str, Any], context: DataContext) -> dict[str, Any] | None:
    labels = labels_of(content)
    unit, bins = _at(content, "timeline", "unit"), _at(content, "timeline", "bins")
    if not bins or not labels:
        return None
    boundaries = _at(content, "splits", "boundaries") or {}
    return {
        "unit": unit,
        "bins": [
            (start.replace("T", " ")[: _START.get(unit, 10)], [counts.get(label, 0) for label in labels])
            for start, counts in bins
        ],
        "figure": page.trusted(draw.timeline(unit, bins, labels, boundaries)),
        "boundaries": boundaries,
    }


def _power(content: Mapping[str, Any], context: DataContext) -> dict[str, Any] | None:
    imbalance, power = content.get("imbalance"), content.get("power")
    if not (imbalance or power):
        return None
    found = _at(content, "power", "smallest_difference_accuracy") or {}
    differences = sorted((float(rate), found[rate]) for rate in found if found[rate] is not None)
    return {
        "imbalance": imbalance,
        "shares": sorted((_at(content, "imbalance", "class_shares") or {}).items(), key=lambda item: -item[1]),
        "power": power,
        "differences": differences,
        # The one to speak of: of all rates of disagreement, the middle one.
        "usual": differences[len(differences) // 2] if differences else None,
    }


def _rejected(content: Mapping[str, Any], context: DataContext) -> dict[str, Any] | None:
    rows = sorted(
        context.get("rejected", ()), key=lambda row: (str(row["file"]), int(row["line"] or 0), str(row["content"]))
    )
    reasons = _at(content, "rejected", "reasons") or {}
    if not (rows or reasons):
        return None
    return {
        "reasons": reasons,
        "n": sum(reasons.values()),
        "share": _at(content, "rejected", "share"),
        "rows": _folded(rows, LISTED_UNFOLDED),
    }


def _samples(content: Mapping[str, Any], context: DataContext) -> list[tuple[str, bool, list[Mapping[str, Any]]]]:
    """Label, whether its rows are open to see, and its rows."""
    labels = labels_of(content)
    rows = sorted(context.get("samples", ()), key=lambda row: (str(row["split"]), len(str(row["id"])), str(row["id"])))
    found = list(dict.fromkeys([*labels, *sorted({str(row["label"]) for row in rows})]))
    by_label = [(label, [row for row in rows if row["label"] == label][:SAMPLES_A_CLASS]) for label in found]
    return [(label, i < _CLASSES_UNFOLDED, each) for i, (label, each) in enumerate(by_label) if each]


def _made(content: Mapping[str, Any], context: DataContext) -> dict[str, Any] | None:
    """The files that were read, with what was found out about each, and all facts that no other section shows."""
    source = dict(content.get("source") or {})
    files = source.pop("files", None) or []
    rest = {"source": source} if source else {}
    rest |= {key: value for key, value in content.items() if key not in _SHOWN_APART}
    if dates := content.get("dates"):
        rest["dates"] = {key: page.moment(each) if isinstance(each, str) else each for key, each in dates.items()}
    if not (files or rest):
        return None
    return {
        "files": [
            (file["path"], page.facts({k: _seen(v) for k, v in file.items() if k != "path" and v is not None}))
            for file in files
        ],
        "rest": page.facts(rest),
    }


def _seen(value: object) -> object:
    """A delimiter that is white space as its escape."""
    return repr(value) if isinstance(value, str) and value.isspace() else value


def _folded(rows: Sequence[Any], n: int) -> dict[str, Any] | None:
    """The first ``n`` rows, the next up to ``LISTED``, how many are left, and how many there are; None for none."""
    rest = max(0, len(rows) - LISTED)
    return {"first": rows[:n], "more": rows[n:LISTED], "rest": rest, "total": len(rows)} if rows else None


# In the order of the page, by the name under which the template knows them.
SECTIONS = {
    "rows": Section("Rows", _rows),
    "classes": Section("Classes", _classes),
    "leakage": Section("Leakage", _leakage),
    "contamination": Section("Contamination", _contamination),
    "duplicates": Section("Duplicates", _duplicates),
    "labels": Section("Labels", _labels),
    "lengths": Section("Lengths", _lengths),
    "timeline": Section("Time", _timeline),
    "power": Section("Power", _power),
    "rejected": Section("Rejected", _rejected),
    "samples": Section("Samples", _samples),
    "made": Section("How made", _made),
}
