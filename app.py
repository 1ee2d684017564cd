"""The demo: type a tweet, see what a tuned model makes of it, beside the same model untuned.

``python app.py --run data/runs/sample``. The only home of gradio. A tweet reaches the page through components that
show plain text, never as HTML or Markdown.
"""

import logging
import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from pipeline import cli
from pipeline.artifacts import Run
from pipeline.errors import PipelineError
from pipeline.task import SENTIMENT_LABELS
from pipeline.traces import threshold_of

if TYPE_CHECKING:
    from pipeline.model.decoding import Classifier, Decoded

log = logging.getLogger("app")

MAX_CHARACTERS = 1000
_ONE_AT_A_TIME = threading.Lock()
# Written for this project; each reads differently to a word list and to a person.
EXAMPLES = [
    "Bought my first sats on the bus this morning and now I can't stop smiling 🧡",
    "oh great, the exchange is 'under maintenance' again, exactly when I need it. truly world class",
    "Block 840,000 was mined on 20 April 2024; the subsidy is now 3.125 BTC.",
    "not saying it's over but I sold everything and I sleep badly anyway",
    "Anyone know how long a withdrawal to a hardware wallet usually takes?",
]


@dataclass(frozen=True)
class AppConfig:
    """What to show, and to whom."""

    run: str
    """Folder written by pipeline.train."""
    port: int = 7860
    """Port to listen on; 0 takes a free one."""
    host: str = "127.0.0.1"
    """Address to listen on; the default answers this machine only."""
    precision: Literal["auto", "bf16", "fp32", "int8", "nf4"] = "auto"
    """Numbers to decode in; auto is that of the run, but fp32 instead of bf16 on a CPU."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute; auto takes a GPU if there is one."""


def serve(config: AppConfig) -> Path | None:
    """Opens a page on which tweets can be typed and classified.

    Shows the label, the probability of each label and the raw completion, of the tuned model and of the same model
    untuned. Stop it with Ctrl-C.
    """
    if not 0 <= config.port <= 65535:
        raise PipelineError(f"--port: expected a number from 0 to 65535, got {config.port}")
    run = Run.load(config.run)
    log.info("loading PyTorch, transformers and the model")
    from pipeline.model.classifier import load_classifier

    classifier, placement = load_classifier(run, precision=config.precision, device=config.device)
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    for name in ("NO_PROXY", "no_proxy"):  # Gradio asks itself whether it is up
        os.environ[name] = ",".join(filter(None, [os.environ.get(name), "localhost", "127.0.0.1", config.host]))
    caption = f"{run.manifest['base_model']['name']}, tuned in {run.folder.name}, {placement.precision}"
    page = build(classifier, caption, threshold_of(run))
    try:
        # api_open would let requests pass by the queue.
        page.queue(max_size=16, default_concurrency_limit=1, api_open=False).launch(
            server_name=config.host,
            server_port=config.port or None,
            share=False,
            css=CSS,
            footer_links=["api"],
            max_file_size="16kb",
            show_error=False,
            run_history=False,  # tweets stay on the page they were typed on
            enable_monitoring=False,
            mcp_server=False,
            ssr_mode=False,
            allowed_paths=[],
        )
    except OSError as error:
        raise PipelineError(
            f"--host {config.host}, --port {config.port}: cannot listen there; {error}; choose another --port, or 0"
        ) from error
    return None


def classify(classifier: "Classifier", tweet: object) -> tuple["Decoded", "Decoded"]:
    """The tuned and the untuned model's decoding of one tweet.

    Raises:
        ValueError: the tweet is empty, too long, or no text; the message is for the person who typed it.
    """
    if not isinstance(tweet, str) or not tweet.strip():
        raise ValueError("Type a tweet first.")
    if len(tweet) > MAX_CHARACTERS:
        raise ValueError(f"A tweet of at most {MAX_CHARACTERS:,} characters, please; this one has {len(tweet):,}.")
    with _ONE_AT_A_TIME:  # the two answers come from one model whose adapter is switched off and on
        (tuned,) = classifier.decode([tweet])
        with classifier.untuned():
            (untuned,) = classifier.decode([tweet])
    return tuned, untuned


def build(classifier: "Classifier", caption: str, threshold: float | None = None) -> Any:
    """The page, as Gradio Blocks around a loaded classifier.

    ``caption`` says which model answers; below ``threshold`` the tuned model's answers are marked as unsure.
    """
    import gradio as gr

    def answer(tweet: str) -> tuple[Any, str, Any, str]:
        """Sentiment of one tweet: probabilities and raw completion of the tuned model, then of the untuned one."""
        try:
            tuned, untuned = classify(classifier, tweet)
        except ValueError as error:
            raise gr.Error(str(error), print_exception=False) from error
        return _scores(tuned), _written(tuned, threshold), _scores(untuned), _written(untuned)

    with gr.Blocks(title="sentiment-tuner", analytics_enabled=False) as page:
        gr.Markdown("# What does this tweet feel like?")
        gr.Markdown(
            "A language model, tuned to answer with a label. The bars divide the probability of all labels among "
            "them; the completion is what it wrote. Beside it, the same model before tuning. "
            "It errs; the report of the run says how often. Not investment advice."
        )
        tweet = gr.Textbox(
            label="Tweet", placeholder="Type or paste a tweet, then press Enter", lines=1, max_lines=6, autofocus=True,
            max_length=MAX_CHARACTERS, submit_btn=False,
        )  # fmt: skip
        button = gr.Button("Classify", variant="primary")
        with gr.Row(equal_height=True):
            columns = []
            for heading in ("Tuned", "Untuned"):
                with gr.Column(min_width=280):
                    gr.Markdown(f"### {heading}")
                    columns.append(gr.Label(label=f"{heading}: label and probabilities", show_label=False))
                    columns.append(gr.Textbox(label=f"{heading}: raw completion", interactive=False, max_lines=3))
        if classifier.labels == SENTIMENT_LABELS:
            gr.Examples(EXAMPLES, inputs=tweet, label="Examples", cache_examples=False)
        gr.Markdown(f"Model: {caption}", elem_classes="caption")
        gr.on([button.click, tweet.submit], answer, inputs=tweet, outputs=columns, api_name="classify")
    return page


# Readable measure on a wide screen, and no sideways scrolling on a phone.
CSS = """
.gradio-container { max-width: 60rem !important; margin: 0 auto !important; }
.caption { opacity: .75; font-size: .85rem; }
"""


def _scores(decoded: "Decoded") -> dict[str, float]:
    """For ``gr.Label``: the most probable label on top, then a bar for each."""
    return decoded.probabilities


def _written(decoded: "Decoded", threshold: float | None = None) -> str:
    """The completion, how a strict reader takes it, how much the bars are worth, and whether it is sure enough."""
    reading = f"{decoded.completion!r} read as {decoded.generate or 'no label (unparsed)'}"
    if decoded.generate is None:
        reading += f"; all labels together have a probability of {decoded.label_mass:.1%}, so the bars say little"
    elif threshold is not None and decoded.probabilities[decoded.generate] < threshold:
        reading += f"; less sure than {threshold:.1%}, the threshold of its evaluation: better not to rely on it"
    return reading


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Runs the command line; exits with its code."""
    cli.run(AppConfig, serve, argv, name="python app.py", example="python app.py --run data/runs/sample")


if __name__ == "__main__":
    main()
