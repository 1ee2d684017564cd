"""``data.html``: what was read, what was left out, and whether a score on what remains will mean something."""

import re
from collections.abc import Mapping
from functools import cache
from pathlib import PurePath
from typing import Any

from jinja2 import Template

from pipeline.scoring import page
from pipeline.scoring.data_sections import SECTIONS, DataContext, labels_of

_ENDING = re.compile(r"(?:\.(?:csv|tsv|txt|jsonl?|parquet|gz|zip|zst))+$", re.IGNORECASE)


def render_data_page(content: Mapping[str, Any], context: DataContext) -> str:
    """The page on a prepared data set as one HTML file; the same input gives the same text.

    A section whose facts are missing is left out.

    Args:
        content: the prepared data set's manifest.
        context: rows of the data set, which the manifest does not hold. Their order does not matter.
    """
    view = {name: section.view(content, context) for name, section in SECTIONS.items()}
    return _template().render(
        title=context.get("title") or title_of(content),
        labels=labels_of(content),
        alarms=[(page.alarm_name(alarm["kind"]), alarm["text"]) for alarm in content.get("alarms", [])],
        checked="alarms" in content,
        nav=[(name, section.heading) for name, section in SECTIONS.items() if view[name]],
        view=view,
        style=page.style("page.css", "data.css"),
    )


@cache
def _template() -> Template:
    return page.environment().get_template("data.html")


def title_of(content: Mapping[str, Any]) -> str:
    """What to call a data set: the names of the files it was made of, and which fold of them it is."""
    source = content.get("source") or {}
    paths = [PurePath(file["path"]) for file in source.get("files") or [source] if file.get("path")]
    names = [_ENDING.sub("", path.name) for path in paths]
    more = f" and {len(names) - 2} more" if len(names) > 3 else ""
    folds = (content.get("splits") or {}).get("folds") or {}
    fold = f", fold {folds['fold']} of {folds['n']}" if folds.get("fold") else ""
    return (", ".join(names[: 2 if more else 3]) + more or "A prepared data set") + fold
