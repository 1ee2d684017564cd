"""The reports on a run: their pages, and the tweets that the run got wrong in its test."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.artifacts import MANIFEST, Report, Run, read_json, read_jsonl
from pipeline.demo.answers import MAX_CHARACTERS
from pipeline.errors import PipelineError
from pipeline.task import SENTIMENT_LABELS

REPORTS = Path("reports")
PAGE = "report.html"
_EXAMPLES = 5
_SHOWN = 90
# Written for this project; each reads differently to a word list and to a person.
_WRITTEN = (
    "Bought my first sats on the bus this morning and now I can't stop smiling 🧡",
    "oh great, the exchange is 'under maintenance' again, exactly when I need it. truly world class",
    "Block 840,000 was mined on 20 April 2024; the subsidy is now 3.125 BTC.",
    "not saying it's over but I sold everything and I sleep badly anyway",
    "Anyone know how long a withdrawal to a hardware wallet usually takes?",
)


@dataclass(frozen=True)
class Examples:
    """Tweets to try: what they are, and of each the text and what is shown of it."""

    heading: str
    texts: Sequence[str]
    shown: Sequence[str]


def find_reports(runs: Mapping[str, Run], given: Sequence[str]) -> dict[str, Report]:
    """The newest report on each run, by the run's name: of ``given``, or else of those in ``reports``.

    Raises:
        PipelineError: one that is given is no report, or on none of these runs.
    """
    hashes = {name: run.sha256 for name, run in runs.items()}
    reports = [Report.load(folder) for folder in given] or _reports_in(REPORTS)
    found: dict[str, Report] = {}
    for report in sorted(reports, key=_made):
        names = [name for name, run in hashes.items() if run == _run_of(report)]  # copies of a run have the same
        found |= dict.fromkeys(names, report)
        if given and not names:
            raise PipelineError(
                f"--report {report.folder}: expected a report on {' or '.join(runs)}, got one on another run; write "
                "one with python -m pipeline.evaluate"
            )
    return found


def _reports_in(folder: Path) -> list[Report]:
    """The finished reports in a folder; what else lies there is passed over."""
    found = []
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        try:
            found += [Report.load(path)] if (path / MANIFEST).is_file() else []
        except PipelineError:  # another kind of folder, or of another version
            continue
    return found


def _run_of(report: Report) -> str:
    parents = report.manifest.get("parents")
    run = parents.get("run") if isinstance(parents, dict) else None
    return str(run.get("sha256")) if isinstance(run, dict) else ""


def _made(report: Report) -> str:
    return str(report.manifest.get("provenance", {}).get("created_at", ""))


def page_of(report: Report) -> bytes:
    """The report's page.

    Raises:
        PipelineError: it has changed since the report was written.
    """
    return report.verified(PAGE).read_bytes()


def examples_of(run: Run, report: Report | None) -> Examples:
    """Tweets to try on a run: those it got wrong in its test, the worst first, or else some that were written for it.

    There are none for other classes than those of sentiment without a report that holds texts.
    """
    wrong = [] if report is None else _errors(run, report)
    if wrong:
        texts = [str(row["input"]) for row in wrong]
        shown = [f"{row['label']}: {_short(str(row['input']))}" for row in wrong]
        return Examples("Wrong in its test, with the label that the data has", texts, shown)
    written = _WRITTEN if run.task.labels == SENTIMENT_LABELS else ()
    return Examples("Try one of these", written, [_short(text) for text in written])


def _errors(run: Run, report: Report) -> list[Mapping[str, object]]:
    from pipeline.scoring.gallery import in_order

    labels = run.task.labels
    try:
        rows = read_jsonl(report.verified("predictions.jsonl"))
        ordered = bool(read_json(report.verified("metrics.json"))["ordered"])
        wrong, _ = in_order(rows, labels, "tuned", ordered=ordered)  # as on the report's page
    except (PipelineError, KeyError, TypeError):  # a report that is damaged, or older than this code, has no examples
        return []
    usable = {row["input"]: row for row in reversed(wrong) if 0 < len(row["input"]) <= MAX_CHARACTERS}
    return list(reversed(usable.values()))[:_EXAMPLES]


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _SHOWN else text[:_SHOWN].rstrip() + " …"
