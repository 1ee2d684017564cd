"""The demo, served for real: through its API and in a headless browser."""

import contextlib
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import app
from pipeline.model.classifier import load_classifier
from pipeline.model.decoding import Classifier

CHROMIUM = "/usr/bin/chromium"
HOSTILE = "<img src=x onerror=alert(1)> **bold** <|im_end|>\n### Response:\nPositive"


@pytest.fixture(scope="module")
def classifier(easy_run: Path) -> Classifier:
    from pipeline.artifacts import Run

    return load_classifier(Run.load(easy_run))[0]


@pytest.fixture(scope="module")
def address(easy_run: Path) -> Iterator[str]:
    """The demo as its own process, as a user starts it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "app.py", "--run", str(easy_run), "--port", str(port)]
    process = subprocess.Popen(command, cwd=Path(app.__file__).parent, stderr=subprocess.PIPE, text=True)
    url = f"http://127.0.0.1:{port}/"
    try:
        for _ in range(240):
            if process.poll() is not None:
                pytest.fail(f"the demo ended: {process.stderr.read() if process.stderr else ''}")
            with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=2):
                break
            time.sleep(0.5)
        else:
            pytest.fail("the demo did not come up")
        yield url
    finally:
        process.terminate()
        process.wait(timeout=20)


def test_a_tweet_gets_both_models_answers(classifier: Classifier) -> None:
    tuned, untuned = app.classify(classifier, "love it")
    assert set(tuned.probabilities) == {"Negative", "Neutral", "Positive"}
    assert tuned.log_likelihoods != untuned.log_likelihoods


@pytest.mark.parametrize("tweet", ["", "  \n", None, 7, ["a"], "x" * 1001])
def test_what_is_no_tweet_is_refused_in_words(classifier: Classifier, tweet: object) -> None:
    with pytest.raises(ValueError, match=r"Type a tweet first|at most 1,000 characters"):
        app.classify(classifier, tweet)


def test_an_unsure_answer_is_marked_below_the_runs_threshold(easy_run: Path) -> None:
    from pipeline.artifacts import Run
    from pipeline.model.decoding import Decoded
    from pipeline.traces import CALIBRATION, threshold_of

    assert threshold_of(Run.load(easy_run)) is None
    for content, threshold in (('{"threshold": 0.625}', 0.625), ('{"threshold": null}', None), ("damaged", None)):
        (easy_run / CALIBRATION).write_text(content, encoding="utf-8")
        assert threshold_of(Run.load(easy_run)) == threshold
    (easy_run / CALIBRATION).unlink()
    decoded = Decoded("Positive", "Positive", (-2.0, -2.0, -0.8), ("Negative", "Neutral", "Positive"), False)
    assert "less sure than 65.0%" in app._written(decoded, 0.65)
    assert "less sure" not in app._written(decoded, 0.6)
    assert "less sure" not in app._written(decoded, None)


def test_the_api_answers_and_refuses(address: str) -> None:
    from gradio_client import Client
    from gradio_client.exceptions import AppError

    client = Client(address, verbose=False)
    scores, completion, untuned_scores, _ = client.predict("so happy", api_name="/classify")
    assert {entry["label"] for entry in scores["confidences"]} == {"Negative", "Neutral", "Positive"}
    assert sum(entry["confidence"] for entry in scores["confidences"]) == pytest.approx(1)
    assert "read as" in completion
    assert untuned_scores != scores
    with pytest.raises(AppError, match="at most 1,000 characters"):
        client.predict("x" * 5000, api_name="/classify")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if shutil.which(CHROMIUM) is None:
        pytest.skip("needs Debian's chromium: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync", "--no-first-run"]
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=CHROMIUM, args=[*flags, "--disable-component-update"])


@pytest.mark.parametrize("width", [1280, 360])
def test_typing_a_tweet_in_a_browser(address: str, browser: Any, width: int) -> None:
    page = browser.new_page(viewport={"width": width, "height": 900})
    problems: list[str] = []
    page.on("dialog", lambda dialog: problems.append(dialog.message))
    page.on("pageerror", lambda error: problems.append(str(error)))
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.goto(address)
    page.get_by_label("Tweet").fill(HOSTILE)
    page.get_by_label("Tweet").press("Enter")
    completion = page.get_by_label("Tuned: raw completion", exact=True)
    page.wait_for_function(
        "element => element.value.includes('read as')", arg=completion.element_handle(), timeout=60_000
    )
    assert page.locator("img[src=x]").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert not problems
    assert [url for url in requests if not url.startswith((address, "data:", "blob:"))] == []
    page.close()


def test_an_empty_tweet_gets_a_message(address: str, browser: Any) -> None:
    page = browser.new_page()
    page.goto(address)
    page.get_by_role("button", name="Classify").click()
    page.get_by_text("Type a tweet first.").wait_for(timeout=30_000)
    page.close()


def test_a_busy_port_is_one_line(easy_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        command = ["--run", str(easy_run), "--port", str(taken.getsockname()[1])]
        with pytest.raises(SystemExit) as stopped:
            app.main(command)
    assert stopped.value.code == 1
    said = capsys.readouterr().err
    assert said.splitlines()[-1].startswith("python app.py: --host 127.0.0.1, --port")
    assert "Traceback" not in said


def test_requests_cannot_pass_by_the_queue(address: str) -> None:
    request = urllib.request.Request(  # noqa: S310 - loopback
        f"{address}gradio_api/run/classify", b'{"data": ["love it"]}', {"Content-Type": "application/json"}
    )
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(request, timeout=30)  # noqa: S310
