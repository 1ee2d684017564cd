"""What the pages promise: links that lead somewhere, error lines that the source has, options that commands know."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), ROOT / "benchmarks/README.md", ROOT / "reports/README.md"]
)
SOURCE = "\n".join(path.read_text(encoding="utf-8") for path in [*(ROOT / "pipeline").rglob("*.py"), ROOT / "app.py"])
# A text that goes over two lines of the source, as one.
JOINED = re.sub(r'"\s*\n\s*f?"', "", SOURCE)


def headings(page: str) -> set[str]:
    """The anchors of a page, as GitHub makes them."""
    lines = re.findall(r"^#+ (.+)$", page, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", line.lower()).replace(" ", "-") for line in lines}


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), target
        if anchor:
            assert anchor in headings(there.read_text(encoding="utf-8")), target


def test_error_lines_are_those_of_the_source() -> None:
    page = (ROOT / "docs/troubleshooting.md").read_text(encoding="utf-8")
    lines = re.findall(r"^\| `([^`]+)` \|", page, flags=re.MULTILINE)
    assert len(lines) > 10
    for line in lines:
        assert line in JOINED, line


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_options_that_are_named_exist(page: Path) -> None:
    ours = re.findall(r"python -m pipeline\.\w+(?:[^\n`]|\\\n)*", page.read_text(encoding="utf-8"))
    for option in {name for command in ours for name in re.findall(r"(?<=\s)--([a-z]\w*)", command)}:
        assert re.search(rf"\b{option}\b", SOURCE), option
