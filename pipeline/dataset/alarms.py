"""What makes a score on a data set mean less than it seems: measured facts, in plain sentences."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from pipeline.dataset.campaigns import FILLS

_LEXICONS = {"textblob": "TextBlob", "vader": "VADER"}
# No evidence against chance although a lift of a tenth would have been found four times out of five.
_CHANCE_P = 0.05
_LIFT = 0.10
# A class lies in copies if most of its rows do, and a quarter of its rows more than of the class with the fewest.
_IN_COPIES = 0.5
_MORE_IN_COPIES = 0.25
# Below this number a recall is not known to better than 0.17 either way.
_TEST_ROWS = 30
# With fewer one tweet moves accuracy by more than 0.03, and the recall of a class by more than a third.
_VALIDATION_ROWS, _VALIDATION_ROWS_OF_A_CLASS = 30, 3
# The least for tentative conclusions in Krippendorff, Content Analysis (2004), section 11.4.2.
_ALPHA = 0.667
_UNDATED = 0.05


def find_alarms(content: Mapping[str, Any]) -> list[dict[str, str]]:
    """The alarms of a prepared data set, the most serious first, each with its ``kind`` and ``text``.

    Args:
        content: the manifest's content; what is absent or null raises no alarm.
    """
    checks: Sequence[tuple[str, Callable[[Mapping[str, Any]], Iterator[str]]]] = (
        ("machine_made", _machine_made),
        ("unlearnable", _unlearnable),
        ("campaign", _campaign),
        ("copies_carry_class", _copies_carry_class),
        ("undated", _undated),
        ("few_test_rows", _few_test_rows),
        ("few_validation_rows", _few_validation_rows),
        ("low_rater_agreement", _low_rater_agreement),
        ("synthetic_rows", _synthetic_rows),
    )
    return [{"kind": kind, "text": text} for kind, check in checks for text in check(content)]


def _machine_made(content: Mapping[str, Any]) -> Iterator[str]:
    found = _at(content, "labels", "lexicons")
    for name, each in sorted(found.items(), key=lambda item: (-item[1]["agreement"], item[0])):
        if each["machine_made"]:
            tool = _LEXICONS.get(name, name)
            yield (
                f"These labels are the output of a word list, or cannot be told from it: {tool} gives the same label "
                f"for {_percent(each['agreement'])} of {each['n']:,} texts (95 % interval {_percent(each['low'])} to "
                f"{_percent(each['high'])}). A score on this set measures imitation of {tool}, not sentiment: a model "
                f"that understood every tweet would score lower than {tool} itself. To learn how well sentiment is "
                "recognised, test on labels that people gave."
            )


def _unlearnable(content: Mapping[str, Any]) -> Iterator[str]:
    found = _at(content, "labels", "learnable")
    if found and found["p_value"] >= _CHANCE_P and found["detectable"] <= _LIFT:
        yield (
            f"The labels look unrelated to the texts: on {found['n']:,} texts that it had not seen, a classifier of "
            f"words reached a macro-F1 of {found['value']:.3f}, where chance gives {found['chance']:.3f} "
            f"(p = {found['p_value']:.2f}). A lift of {found['detectable']:.3f} would have been found four times out "
            "of five. Labels joined to the wrong rows look like this; look at some rows before training. It is no "
            "proof: what words do not show, a model that reads may still find."
        )


def _campaign(content: Mapping[str, Any]) -> Iterator[str]:
    found = content.get("duplicates") or {}
    shares = [
        (share, label, campaign)
        for campaign in found.get("campaigns") or ()
        for label, share in campaign["class_shares"].items()
        if share > FILLS
    ]
    for share, label, campaign in sorted(shares, key=lambda each: (-each[0], each[1])):
        yield (
            f"One campaign fills a class: {_percent(share)} of the rows of {label} are copies of a single text "
            f"({campaign['size']:,} rows in all). Counted row by row, a model that has learnt this text by heart looks "
            f"good at {label}.{_settled(found)}"
        )


def _copies_carry_class(content: Mapping[str, Any]) -> Iterator[str]:
    shares = _at(content, "duplicates", "class_shares_in_copies")
    if not shares:
        return
    least = min(shares, key=lambda label: shares[label])
    for label, share in shares.items():
        if share > _IN_COPIES and share - shares[least] >= _MORE_IN_COPIES:
            yield (
                f"Copies give a class away: {_percent(share)} of the rows of {label} have a copy or near-copy in the "
                f"set, and {_percent(shares[least])} of those of {least}. On a random split, recognising what was seen "
                f"before passes for recognising the class.{_settled(content['duplicates'])}"
            )


def _settled(duplicates: Mapping[str, Any]) -> str:
    """What was done about copies, where something was."""
    policy = duplicates.get("policy")
    if isinstance(policy, int):
        return f" Here at most {policy:,} of each group of near-copies were kept."
    return " Here one copy of each text was kept." if policy == "one" else ""


def _undated(content: Mapping[str, Any]) -> Iterator[str]:
    rows = content.get("rows") or {}
    lost = _at(rows, "dropped").get("no date", 0)
    if lost > _UNDATED * rows.get("read", 0):
        example = _at(content, "dates").get("unread_example")
        such = "" if example is None else f", such as {example!r}"
        yield (
            f"Many rows have no date: {lost:,} of {rows['read']:,} were left out because their date is missing or "
            f"could not be read{such}. The splits in time stand for the others alone; write all dates alike, such as "
            "2018-03-23 00:40:40."
        )


def _few_test_rows(content: Mapping[str, Any]) -> Iterator[str]:
    counts = dict(sorted(_at(content, "classes", "test").items(), key=lambda item: item[1]))
    power = _at(content, "power", "per_class")
    if none := [label for label, rows in counts.items() if not rows]:
        yield (
            f"No test rows: {', '.join(none)} {_have(none)} none, so nothing can be known of {_its(none)}, and the "
            "macro-F1 counts what has none as 0. Add such rows to the test, or leave the class out."
        )
    if few := [label for label, rows in counts.items() if 0 < rows < _TEST_ROWS]:
        named = [f"{label} has {counts[label]:,}{_known(power.get(label, {}))}" for label in few]
        yield (
            f"A recall wants {_TEST_ROWS} test rows or more of a class to be known to within 0.17: {', '.join(named)}, "
            f"so {_its(few)} can hardly be known, and the macro-F1 hangs on single tweets. {_more_test_rows(content)}."
        )


def _more_test_rows(content: Mapping[str, Any]) -> str:
    """What makes a test larger, with the options that can be given beside those that were."""
    splits = _at(content, "splits")
    if "test" in (splits.get("own_files") or ()):
        return "Add such rows to your test file"
    if splits.get("folds"):
        return "Add such rows, or ask for fewer folds (--folds)"
    larger = "Add such rows, or give the test split a larger share (--test)"
    return larger if splits.get("by") == "time" else f"{larger}, or let every row be tested once (--folds)"


def _have(labels: Sequence[str]) -> str:
    return "has" if len(labels) == 1 else "have"


def _its(labels: Sequence[str]) -> str:
    return "its recall" if len(labels) == 1 else "their recall"


def _known(power: Mapping[str, Any]) -> str:
    """How well a recall can be known, in brackets, where that was computed."""
    width = power.get("recall_half_width")
    return "" if width is None else f" (recall to within {width:.2f} at best)"


def _few_validation_rows(content: Mapping[str, Any]) -> Iterator[str]:
    counts = _at(content, "classes", "val")
    few = [f"{label} {rows:,}" for label, rows in counts.items() if rows < _VALIDATION_ROWS_OF_A_CLASS]
    total = sum(counts.values())
    if counts and (few or total < _VALIDATION_ROWS):
        of = f", of {', '.join(few)}" if few else ""
        yield (
            f"The validation split has {total:,} in all{of}, where {_VALIDATION_ROWS} and "
            f"{_VALIDATION_ROWS_OF_A_CLASS} of each class are the least to choose by between one state of a training "
            f"and another, or between settings. {_more_validation_rows(content)}."
        )


def _more_validation_rows(content: Mapping[str, Any]) -> str:
    own = "val" in (_at(content, "splits").get("own_files") or ())
    return (
        "Add rows to your validation file" if own else "Add rows, or give the validation split a larger share (--val)"
    )


def _low_rater_agreement(content: Mapping[str, Any]) -> Iterator[str]:
    found = _at(content, "labels", "raters")
    alpha = found.get("krippendorff_alpha")
    if alpha is not None and alpha < _ALPHA:
        ceiling = found["human_ceiling"]
        yield (
            f"The raters disagree: Krippendorff's alpha is {alpha:.2f} [{found['low']:.2f}, {found['high']:.2f}] on "
            f"{found['items']:,} texts, below the {_ALPHA:.2f} asked for even for tentative conclusions. One rater "
            f"scores a macro-F1 of {ceiling['macro_f1']:.2f} against the majority of the others; a model that scores "
            "more has learnt the habits of these raters."
        )


def _synthetic_rows(content: Mapping[str, Any]) -> Iterator[str]:
    found = _at(content, "synthetic")
    if not found:
        return
    rows, of, written = found["rows"], found["of"], found["written"]
    how = "with tweets that a model wrote"
    if written < rows:
        how = f"{written:,} with tweets that a model wrote, {rows - written:,} with labels that one gave"
    teachers = ", ".join(f"{name} {n:,}" for name, n in found["teachers"].items())
    classes = ", ".join(f"{label} {n:,}" for label, n in found["classes"].items() if n)
    yield (
        f"Of {of:,} training rows, {rows:,} ({_percent(rows / of)}) are synthetic, {how} ({teachers}); by class: "
        f"{classes}. No validation or test row is. Whether they help shows only beside a run on the real rows alone."
    )


def _at(content: Mapping[str, Any], *keys: str) -> Mapping[str, Any]:
    """The mapping at a path of keys; empty where a step is absent or null."""
    for key in keys:
        content = content.get(key) or {}
    return content


def _percent(share: float) -> str:
    """A share in per cent, such that only all is 100.0 and only none is 0.0."""
    shown = f"{100 * share:.1f}"
    if shown == "100.0" and share < 1:
        shown = "99.9"
    if shown == "0.0" and share > 0:
        shown = "0.1"
    return f"{shown} %"
