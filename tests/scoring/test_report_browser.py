"""The page in a real browser: what a reader's machine would do with it."""

from pathlib import Path

import pytest
from accessibility import CHROMIUM, faults_of_file
from playwright.sync_api import Browser
from synthetic_predictions import LABELS, make_predictions

from pipeline.scoring.evaluation import score
from pipeline.scoring.report import render
from pipeline.scoring.sections import Evidence

pytestmark = pytest.mark.skipif(not CHROMIUM.exists(), reason=f"needs {CHROMIUM}: apt-get install chromium")


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows = make_predictions(
        120, text="<script>alert(1)</script><img src=https://evil.example/x onerror=alert(2)> " + "w" * 90
    )
    counts = {"train": dict(zip(LABELS, (10, 300, 1000), strict=True)), "test": dict.fromkeys(LABELS, 40)}
    for row in rows:  # so shy of Negative that an adjustment pays, and all rows of its table are there
        row["systems"]["tuned"]["log_likelihoods"]["Negative"] -= 2.5
    validation = [{**{key: row[key] for key in ("id", "group", "label")}, **row["systems"]["tuned"]} for row in rows]
    settings = {name: {"class_weights": name * 9, "lora.target_modules": "q_proj, " * 9} for name in ("tuned", "tfidf")}
    evidence = Evidence(validation=validation, data={"classes": counts}, levers=settings)
    full = score(rows, labels=LABELS, evidence=evidence)
    metrics = score(rows, labels=LABELS) | {key: full[key] for key in ("adjustment", "levers")}
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(render(metrics, rows, {"title": "x" * 90, "data": {"classes": counts}}), encoding="utf-8")
    return path


@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_opens_in_silence_and_fits(browser: Browser, page_file: Path, width: int, scheme: str) -> None:
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
    page.evaluate("document.querySelectorAll('details').forEach(element => element.open = true)")
    assert messages == []
    assert requests == [page_file.as_uri()]
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator("#adjustment table").count() == 4
    assert page.locator("#adjustment table").first.locator("tbody tr").count() == 2 * (len(LABELS) + 1)
    # The style sheet's hash is the policy's: without it the page would be in Times on white.
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert background == ("rgb(20, 23, 26)" if scheme == "dark" else "rgb(255, 255, 255)")
    context.close()


def test_a_wide_table_takes_the_margins_before_it_is_scrolled(browser: Browser, tmp_path: Path) -> None:
    labels = ("dreadful", "bad", "neutral", "good", "very good")
    rows = make_predictions(60, labels=labels)
    board = {"costs": {"tuned": None, "untuned": None}, "published": None}
    metrics = score(rows, labels=labels, evidence=Evidence(board=board))
    path = tmp_path / "report.html"
    path.write_text(render(metrics, rows, {}), encoding="utf-8")
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    page.goto(path.as_uri())
    page.evaluate("document.querySelectorAll('details').forEach(element => element.open = true)")
    widths = page.evaluate("[...document.querySelectorAll('.scroll')].map(e => [e.clientWidth, e.scrollWidth])")
    column = page.evaluate("document.querySelector('#leaderboard').clientWidth")
    assert all(whole <= seen for seen, whole in widths)
    assert column < max(seen for seen, _ in widths) <= 1280
    assert page.evaluate("document.documentElement.scrollWidth") <= 1280
    page.close()


def test_text_has_contrast(browser: Browser, page_file: Path) -> None:
    """WCAG 2.2, 1.4.3: at least 4.5 to 1 for each of the page's text colours on its grounds."""
    for scheme in ("light", "dark"):
        context = browser.new_context(color_scheme="dark" if scheme == "dark" else "light")
        page = context.new_page()
        page.goto(page_file.as_uri())
        for selector in (
            ".lead",
            ".verdict h2",
            ".headline dt",
            ".about",
            ".interval",
            "figcaption",
            ".hit",
            "summary",
        ):
            ratio = page.evaluate(CONTRAST, selector)
            assert ratio >= 4.5, (scheme, selector, ratio)
        context.close()


@pytest.mark.parametrize(("width", "scheme"), [(360, "light"), (1280, "dark")])
def test_axe_finds_nothing_serious(browser: Browser, page_file: Path, width: int, scheme: str) -> None:
    assert faults_of_file(browser, page_file, width, scheme) == []


CONTRAST = """selector => {
  const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  const element = document.querySelector(selector);
  const paint = colour => { canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1); };
  const grounds = [];
  for (let e = element; e; e = e.parentElement) grounds.unshift(getComputedStyle(e).backgroundColor);
  const read = () => [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3).map(v => {
    v /= 255; return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; });
  const light = ([r, g, b]) => 0.2126 * r + 0.7152 * g + 0.0722 * b;
  grounds.forEach(paint);
  const ground = light(read());
  paint(getComputedStyle(element).color);
  const ink = light(read());
  return (Math.max(ground, ink) + 0.05) / (Math.min(ground, ink) + 0.05);
}"""
