"""The data page in a real browser: what a reader's machine would do with it."""

import io
from pathlib import Path

import numpy as np
import pytest
from accessibility import CHROMIUM, faults_of_file
from PIL import Image
from playwright.sync_api import Browser
from synthetic_content import LABELS, TOPICS, make_content, make_context
from test_report_browser import CONTRAST

from pipeline.scoring.data_page import render_data_page

HOSTILE = "<script>alert(1)</script><img src=https://evil.example/x onerror=alert(2)> " + "w" * 90
SELECTORS = (
    ".alarms li",
    ".alarms strong",
    ".verdict h2",
    ".headline dt",
    ".about",
    ".interval",
    ".kind",
    "nav a",
    "figcaption",
    "caption",
    ".ours th",
    ".ours td",
    ".answer",
    ".sum td",
    ".facts dt",
    ".tweet code",
    "summary",
)

pytestmark = pytest.mark.skipif(not CHROMIUM.exists(), reason=f"needs {CHROMIUM}: apt-get install chromium")


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    content = make_content(tuple(TOPICS.split()))
    content["source"]["files"][0]["path"] = "d/" + "x" * 120
    content["alarms"][0]["text"] = HOSTILE
    content["duplicates"]["campaigns"][0]["text"] = HOSTILE
    context = make_context((*LABELS, "x" * 60), text=HOSTILE)
    path = tmp_path_factory.mktemp("data") / "data.html"
    path.write_text(render_data_page(content, {**context, "title": "x" * 90}), encoding="utf-8")
    return path


@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_opens_in_silence_fits_and_can_be_read(
    browser: Browser, page_file: Path, width: int, scheme: str
) -> None:
    """Contrast: WCAG 2.2, 1.4.3, at least 4.5 to 1 for each of the page's text colours on its grounds."""
    context = browser.new_context(
        viewport={"width": width, "height": 800}, color_scheme="dark" if scheme == "dark" else "light"
    )
    page = context.new_page()
    messages: list[str] = []
    requests: list[str] = []
    page.on("console", lambda message: messages.append(message.text))
    page.on("pageerror", lambda error: messages.append(str(error)))
    page.on("dialog", lambda dialog: messages.append(dialog.message))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(page_file.as_uri())
    page.evaluate("document.querySelectorAll('details').forEach(element => { element.open = true })")
    assert messages == []
    assert requests == [page_file.as_uri()]
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert background == ("rgb(20, 23, 26)" if scheme == "dark" else "rgb(255, 255, 255)")
    for selector in SELECTORS if width > 1000 else ():
        ratio = page.evaluate(CONTRAST, selector)
        assert ratio >= 4.5, (selector, ratio)
    context.close()


def test_print_shows_what_is_folded_and_cuts_nothing_off(browser: Browser, page_file: Path) -> None:
    page = browser.new_page(viewport={"width": 700, "height": 1000})
    page.goto(page_file.as_uri())
    page.emulate_media(media="print")
    folded = page.locator("details:not([open]) li").last
    assert folded.evaluate("element => element.getBoundingClientRect().height") > 0
    assert not page.locator("nav").is_visible()
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_table_that_scrolls_shows_on_which_side_there_is_more(browser: Browser, page_file: Path, scheme: str) -> None:
    context = browser.new_context(
        viewport={"width": 360, "height": 800}, color_scheme="dark" if scheme == "dark" else "light"
    )
    page = context.new_page()
    page.goto(page_file.as_uri())
    table = page.locator(".scroll[aria-label='What each lever against imbalance costs']")
    assert table.evaluate("element => element.scrollWidth > element.clientWidth + 40")

    def shaded() -> list[bool]:
        image = Image.open(io.BytesIO(table.screenshot())).convert("L")
        paper = 23 if scheme == "dark" else 255
        # Below the last row's line, where nothing is written.
        return [abs(int(np.asarray(image)[-4, x]) - paper) > 15 for x in (1, -2)]

    assert shaded() == [False, True]
    table.evaluate("element => { element.scrollLeft = 30 }")
    assert shaded() == [True, True]
    table.evaluate("element => { element.scrollLeft = 9999 }")
    assert shaded() == [True, False]
    context.close()


@pytest.mark.parametrize(("width", "scheme"), [(360, "light"), (1280, "dark")])
def test_axe_finds_nothing_serious(browser: Browser, page_file: Path, width: int, scheme: str) -> None:
    assert faults_of_file(browser, page_file, width, scheme) == []
