"""The demo in a real browser: a tweet, a file, mistakes, the keyboard alone, a phone, and axe-core's rules."""

import csv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from accessibility import CHROMIUM, faults
from demo_server import served
from playwright.sync_api import Browser, Page, expect
from predicting import TWEETS, write_csv

HOSTILE = "<img src=x onerror=alert(1)> **bold** <|im_end|>\n### Response:\nPositive"
PATIENCE = 60_000  # milliseconds
# Gradio says this of itself in any browser.
HARMLESS = ("Autofocus processing was blocked", "Method not implemented.")

pytestmark = pytest.mark.skipif(not CHROMIUM.exists(), reason=f"needs {CHROMIUM}: apt-get install chromium")
Open = Callable[..., Page]


@pytest.fixture(scope="module")
def address(judged: tuple[Path, Path], easy_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A demo of a run and a copy of it, which have the same report."""
    run, report = judged
    with served("--run", run, easy_run, "--report", report, home=tmp_path_factory.mktemp("home")) as (url, _):
        yield url


@pytest.fixture
def visit(address: str, browser: Browser) -> Iterator[Open]:
    """Opens the demo; at the end the page must have said nothing, asked nobody else, and fit its width."""
    opened: list[Page] = []
    problems: list[str] = []

    def visit(width: int = 1280, scheme: Any = "light") -> Page:
        page = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme).new_page()
        page.set_default_timeout(PATIENCE)
        page.on("dialog", lambda dialog: problems.append(dialog.message))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda message: problems.append(message.text))
        page.on("request", lambda asked: problems.append(asked.url) if _elsewhere(asked.url, address) else None)
        page.goto(address)
        tweet_in(page).wait_for()
        opened.append(page)
        return page

    yield visit
    for page in opened:
        assert page.evaluate("document.documentElement.scrollWidth") <= (page.viewport_size or {"width": 0})["width"]
        page.context.close()
    assert [problem for problem in problems if not problem.startswith(HARMLESS)] == []


def _elsewhere(url: str, address: str) -> bool:
    return not url.startswith((address, "data:", "blob:"))


def tweet_in(page: Page) -> Any:
    return page.get_by_role("textbox", name="Tweet", exact=True)


def send(page: Page, source: Path) -> None:
    """Chooses a file, and waits until the page has it; the name in one piece stands there during the upload alone."""
    page.locator("input[type=file]").set_input_files(source)
    page.get_by_label(source.name, exact=True).wait_for()


def classified(page: Page) -> None:
    """Waits until everything is said of a tweet."""
    expect(page.get_by_label("TF-IDF: what it said")).to_have_value(
        "Counts words and runs of characters, fitted on the run's training tweets.", timeout=PATIENCE
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 360])
def test_a_typed_tweet_is_answered_by_all_and_is_never_html(visit: Open, width: int, scheme: str) -> None:
    page = visit(width, scheme)
    assert faults(page) == []
    tweet_in(page).fill(HOSTILE)
    tweet_in(page).press("Enter")
    classified(page)
    assert page.locator("img[src=x], #results strong, #results b").count() == 0
    assert page.locator("#systems .answer").count() == 3
    assert page.locator("#systems li").count() == 9
    # Words, with the spaces between them as one.
    assert page.locator("#words .textfield").inner_text().split() == HOSTILE.split()
    assert faults(page) == []
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, background.strip("rgba()").split(",")[:3])) < 300) == (scheme == "dark")


def test_an_example_is_answered_at_a_click(visit: Open) -> None:
    page = visit()
    page.locator("#examples button").first.click()
    classified(page)
    assert tweet_in(page).input_value()


def test_another_run_is_chosen_with_its_report(visit: Open) -> None:
    page = visit()
    run, report = page.get_by_label("Run", exact=True), page.locator("iframe[title='Evaluation report']")
    page.get_by_role("tab", name="Report").click()
    for number in (1, 0):
        run.click()
        page.get_by_role("option").nth(number).click()
        expect(report).to_have_attribute("src", f"/report/{number}", timeout=PATIENCE)
    page.get_by_role("tab", name="Tweet").click()
    tweet_in(page).fill("so happy")
    tweet_in(page).press("Enter")
    expect(page.locator("#systems .answer").first).to_have_text("Positive", timeout=PATIENCE)


def test_a_mistake_gets_a_message(visit: Open) -> None:
    page = visit()
    page.get_by_role("button", name="Classify").click()
    page.get_by_text("Type a tweet first.").wait_for()
    page.get_by_role("tab", name="File").click()
    page.get_by_role("button", name="Label all rows").click()
    page.get_by_text("Choose a file first.").wait_for()
    assert page.locator("#systems .answer").count() == 0


def test_the_keyboard_is_enough(visit: Open) -> None:
    page = visit()
    expect(tweet_in(page)).to_be_focused()
    page.keyboard.type("so happy")
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Classify")).to_be_focused()
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"
    page.keyboard.press("Enter")
    classified(page)
    assert page.locator("#systems .answer").first.inner_text() == "Positive"
    for _ in range(8):  # back up to the tabs
        page.keyboard.press("Shift+Tab")
        if page.evaluate("document.activeElement.textContent.trim()") == "File":
            break
    page.keyboard.press("Enter")
    expect(page.get_by_label("Column with the tweets")).to_be_visible()


@pytest.mark.parametrize("width", [1280, 360])
def test_a_file_is_labelled_shown_and_taken_home(visit: Open, tmp_path: Path, width: int) -> None:
    page = visit(width)
    page.get_by_role("tab", name="File").click()
    texts = [*TWEETS[:4], "=1+1", HOSTILE, ""]
    send(page, write_csv(tmp_path / "mine.csv", texts))
    page.get_by_role("button", name="Label all rows").click()
    page.locator("#counts .bars").wait_for()
    page.get_by_text("cannot be used: 1").wait_for()
    page.locator("#rows").get_by_text("nothing is left").first.wait_for()
    assert page.locator("img[src=x]").count() == 0
    with page.expect_download() as download:
        page.locator("#download").click()
    with Path(download.value.path()).open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["tweet"] for row in rows] == [*TWEETS[:4], "'=1+1", HOSTILE, ""]
    assert rows[0]["label"]
    assert faults(page) == []


def test_a_file_that_is_no_table_gets_a_message(visit: Open, tmp_path: Path) -> None:
    page = visit()
    page.get_by_role("tab", name="File").click()
    source = tmp_path / "odd.csv"
    source.write_text("a,<b onclick=alert(1)>x</b>\n1,2\n3,4\n", encoding="utf-8")
    send(page, source)
    page.get_by_role("button", name="Label all rows").click()
    page.get_by_text("odd.csv: ").wait_for()
    assert page.locator("b[onclick]").count() == 0


def test_the_report_is_shown_in_a_frame_where_nothing_runs(visit: Open) -> None:
    page = visit()
    page.get_by_role("tab", name="Report").click()
    frame = page.frame_locator("iframe[title='Evaluation report']")
    frame.get_by_role("heading", level=1).wait_for()
    assert page.locator("iframe").get_attribute("sandbox") == ""
    assert faults(page) == []
    page.get_by_role("tab", name="API").click()
    page.get_by_text("gradio_client").first.wait_for()
    assert faults(page) == []
