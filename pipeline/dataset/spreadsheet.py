"""Tables that a person opens in a spreadsheet program: a tweet that looks like a formula must not become one."""

import csv
import io
import re
import unicodedata
from collections.abc import Iterable, Sequence

# CWE-1236: a cell is run that starts, white space aside, with one of these; full-width forms count in East Asian
# settings. Some programs also pass over characters that nobody sees.
_FORMULA = re.compile(
    "'*[\\s\x00-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff]*[=+\\-@\\t\\r\\n]"
)
_MARK = "'"


def to_csv(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Comma-separated text with a byte order mark and every cell in quotes, in which no cell is a formula."""
    out = io.StringIO(newline="")
    writer = csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([guarded(str(cell)) for cell in row] for row in rows)
    return "\ufeff" + out.getvalue()


def guarded(text: str) -> str:
    """The text with an apostrophe before it if a spreadsheet program would take it for a formula."""
    return _MARK + text if _looks_like_formula(text) else text


def unguarded(cell: str) -> str:
    """The inverse of ``guarded``; the cell as it is where it has no apostrophe to lose."""
    return cell[1:] if cell.startswith(_MARK) and _looks_like_formula(cell) else cell


def _looks_like_formula(text: str) -> bool:
    return _FORMULA.match(unicodedata.normalize("NFKC", text)) is not None
