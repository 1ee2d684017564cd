"""Where the browser of the tests is, and axe-core in a page: what would keep somebody from reading or using it."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = "--no-sandbox --disable-gpu --disable-background-networking --disable-component-update --disable-sync"


def faults(page: Any) -> list[str]:
    """The page's serious and critical faults by axe-core's rules, each with the first place it was found in."""
    found = importlib.util.find_spec("axe_playwright_python")
    if found is None or found.origin is None:
        pytest.skip("needs axe-playwright-python, which brings axe-core")
    page.evaluate(Path(found.origin).with_name("axe.min.js").read_text(encoding="utf-8"))
    result = page.evaluate("() => axe.run({iframes: false})")
    assert len(result["passes"]) > 5  # it has looked at something
    return [
        f"{rule['id']} ({rule['impact']}): {rule['nodes'][0]['html'][:200]}; {len(rule['nodes'])} in all"
        for rule in result["violations"]
        if rule["impact"] in ("serious", "critical")
    ]


def faults_of_file(browser: Any, path: Path, width: int, scheme: str) -> list[str]:
    """The same of a page that lies in a file, with everything unfolded."""
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page = context.new_page()
    page.goto(path.as_uri())
    page.evaluate("document.querySelectorAll('details').forEach(element => element.open = true)")
    found = faults(page)
    context.close()
    return found
