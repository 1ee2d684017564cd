"""The page, as Gradio Blocks. What a person typed, sent or a model wrote reaches it as plain text alone."""

import html
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gradio as gr

from pipeline.artifacts import Report, without_home
from pipeline.demo import answers, batch, evaluations
from pipeline.demo.answers import Answer
from pipeline.demo.guard import REPORT
from pipeline.demo.shelf import Shelf
from pipeline.errors import PipelineError

CSS = Path(__file__).with_name("page.css")
# For colour-blind eyes too; of middle brightness, so that dark and light text both stand on them.
_COLOURS = dict(zip(answers.EFFECTS, ("#1d83c4", "#7db8dc", "#e8b36b", "#d97a1e"), strict=True))
_WAIT = "…"


def build(shelf: Shelf, reports: Mapping[str, Report], address: str, *, mcp: bool = False) -> gr.Blocks:
    """The page around a shelf of runs.

    Args:
        shelf: the runs.
        reports: of some of them, by name.
        address: where the page will be, for the lines that call it.
        mcp: whether programs may call it as a tool.
    """
    names = shelf.names
    examples = {name: evaluations.examples_of(shelf.runs[name], reports.get(name)) for name in names}
    first = names[0]
    with gr.Blocks(title="sentiment-tuner", analytics_enabled=False, delete_cache=(3600, 3600)) as page:
        with gr.Row(elem_id="top"):
            gr.Markdown("# What does this tweet feel like?", elem_id="title")
            run = gr.Dropdown(
                names, value=first, label="Run", visible=len(names) > 1, filterable=False, min_width=200, scale=0,
                elem_id="run",
            )  # fmt: skip
        with gr.Tabs():
            with gr.Tab("Tweet"):
                samples = _tweet_tab(shelf, run, examples)
            with gr.Tab("File"):
                _file_tab(shelf, run)
            with gr.Tab("Report"):
                shown = gr.Markdown(_frame(first, names, reports), sanitize_html=False, elem_id="report")
            with gr.Tab("API"):
                gr.Markdown(api_lines(address, mcp=mcp), elem_id="api")
        about = gr.Textbox(
            _about(shelf, first), label="Model", show_label=False, interactive=False, elem_classes="note"
        )

        def choose(name: str) -> tuple[dict[str, Any], str, str]:
            """Takes another run: its examples, its report, and what it is."""
            with _plainly():
                text = _about(shelf, name)
            return gr.update(**_samples(examples[name])), _frame(name, names, reports), text

        run.change(choose, run, [samples, shown, about], api_visibility="private", show_progress="minimal")
        _api(shelf)
    return page


def _tweet_tab(shelf: Shelf, run: gr.Dropdown, examples: Mapping[str, evaluations.Examples]) -> gr.Dataset:
    """One tweet, and what each system says of it; gives the examples, which go by the run."""
    tweet = gr.Textbox(
        label="Tweet", placeholder="Type or paste a tweet, then press Enter", lines=1, max_lines=6, autofocus=True,
        max_length=answers.MAX_CHARACTERS, submit_btn=False, elem_id="tweet",
    )  # fmt: skip
    button = gr.Button("Classify", variant="primary", elem_id="classify")
    with gr.Column(visible=False, elem_id="results") as results:
        with gr.Row(equal_height=True, elem_id="systems"):
            systems = [part for heading in ("Tuned", "Untuned", "TF-IDF") for part in _card(heading)]
        with gr.Column(elem_classes="card"):
            gr.Markdown("## Which words carried it")
            drawn = gr.HighlightedText(
                label="Words for and against the label", show_label=False, color_map=_COLOURS, show_legend=True,
                show_inline_category=False, elem_id="words",
            )  # fmt: skip
            told = gr.Textbox(label="The strongest word", show_label=False, interactive=False, elem_classes="note")
    samples = gr.Dataset(
        components=[gr.Textbox(visible=False)], type="index", elem_id="examples", **_samples(examples[shelf.names[0]])
    )

    def answer(text: str, name: str) -> Iterator[list[Any]]:
        """The tuned model's answer at once, the others as they come."""
        shown: list[Any] = [gr.update(visible=True), *[_bars({}, ""), _WAIT] * 3, [], _WAIT]
        with _plainly():
            text = answers.checked(text)
            with shelf.open(name) as loaded:
                decoded, prediction = answers.tuned(loaded, text)
                shown[1:3] = _shown(answers.of_tuned(decoded, prediction, loaded.threshold, loaded.why_no_threshold))
            del loaded  # others may take another run now: memory for one model is enough
            yield shown
            with shelf.open(name) as loaded:
                shown[3:5] = _shown(answers.of_untuned(answers.untuned(loaded.classifier, text)))
            del loaded
            yield shown
            with shelf.open(name) as loaded:
                found = answers.words(loaded.classifier, text, prediction.label or decoded.loglikelihood, decoded)
                bag = loaded.bag
            del loaded
            shown[7:9] = answers.marked(found), answers.told(found)
            yield shown
            shown[5:7] = _shown(answers.of_bag(bag, text))
            yield shown

    outputs = [results, *systems, drawn, told]
    options: dict[str, Any] = {"api_visibility": "private", "trigger_mode": "always_last", "show_progress": "hidden"}
    gr.on([button.click, tweet.submit], answer, [tweet, run], outputs, **options)

    def take(place: int, name: str) -> str:
        return str(examples[name].texts[place])

    samples.click(take, [samples, run], tweet, api_visibility="private", show_progress="hidden").then(
        answer, [tweet, run], outputs, **options
    )
    return samples


def _card(heading: str) -> tuple[gr.Markdown, gr.Textbox]:
    with gr.Column(min_width=240, elem_classes="card"):
        gr.Markdown(f"## {heading}")
        return (
            gr.Markdown(_bars({}, "")),
            gr.Textbox(
                label=f"{heading}: what it said", show_label=False, interactive=False, max_lines=6, elem_classes="note"
            ),
        )


def _shown(answer: Answer) -> tuple[str, str]:
    return _bars(answer.probabilities, answer.label), without_home(answer.note)


def _bars(shares: Mapping[str, float], said: str | None = None) -> str:
    """What was said, and a bar for each label in the order of the task; of a tweet or a model's answer nothing."""
    top = max(shares, key=shares.__getitem__, default="")
    lines = "".join(
        f'<li class="{"top" if name == top else "other"}"><span class="name">{html.escape(name)}</span>'
        f'<span class="track"><span style="width: {share:.2%}"></span></span>'
        f'<span class="share">{share:.0%}</span></li>'
        for name, share in shares.items()
    )
    kind = "answer none" if said == answers.NO_LABEL else "answer"
    heading = "" if said is None else f'<p class="{kind}" role="status">{html.escape(said)}</p>'
    return f'<div class="bars">{heading}{f"<ul>{lines}</ul>" if lines else ""}</div>'


def _samples(examples: evaluations.Examples) -> dict[str, Any]:
    """What a list of examples shows; as an update without its parts, which cannot be made again once it is served."""
    texts = [[text] for text in examples.texts]
    return {
        "samples": texts,
        "sample_labels": list(examples.shown),
        "label": examples.heading,
        "visible": bool(texts),
    }


def _file_tab(shelf: Shelf, run: gr.Dropdown) -> None:
    """A file of tweets: counts, the first rows, and all of it to take home."""
    gr.Markdown(
        f"A CSV or TSV file with a column of tweets, at most {batch.MAX_ROWS:,} rows and {batch.MAX_BYTES >> 20} MiB; "
        "`python -m pipeline.predict` takes files of any size. No row is lost: what cannot be used has a reason. What "
        "you take home opens in a spreadsheet without a tweet becoming a formula. Files are kept for an hour or two."
    )
    with gr.Row(equal_height=True):
        source = gr.File(label="File with tweets", file_types=list(batch.SUFFIXES), height=150, elem_id="source")
        with gr.Column():
            column = gr.Textbox(
                label="Column with the tweets", placeholder="found if left empty", max_length=200, elem_id="column"
            )
            button = gr.Button("Label all rows", variant="primary", elem_id="label")
    with gr.Column(visible=False, elem_id="labelled") as results:
        with gr.Column(elem_classes="card"):
            gr.Markdown("## What became of the rows")
            counts = gr.Markdown(_bars({}), elem_id="counts")
        download = gr.DownloadButton("Download the labelled file", elem_id="download")
        table = gr.Dataframe(
            label=f"The first {batch.SHOWN_ROWS} rows", interactive=False, wrap=True, datatype="str", elem_id="rows",
            max_height=480, buttons=[],
            column_widths=["320px", "110px", "110px", "110px", "300px"],
        )  # fmt: skip

    def label(path: str | None, named: str, name: str, progress: gr.Progress = gr.Progress()) -> list[Any]:  # noqa: B008 - how Gradio hands it over
        with _plainly():
            if not path:
                raise PipelineError("Choose a file first.")
            found = batch.label(
                shelf, shelf.name(name), Path(path), named.strip() or None, Path(path).parent,
                lambda done, total: progress((done, total), unit="tweets"),
            )  # fmt: skip
        shares = _bars(batch.shares(found, shelf.runs[name].task.labels))
        shares += f"<p>{html.escape(found.note)}</p>" if found.note else ""
        rows = {"headers": list(found.header), "data": [list(row) for row in found.rows]}
        return [gr.update(visible=True), shares, str(found.path), rows]

    button.click(
        label, [source, column, run], [results, counts, download, table], api_visibility="private",
        concurrency_limit=1, concurrency_id="file", show_progress_on=[button],
    )  # fmt: skip


def _frame(name: str, names: list[str], reports: Mapping[str, Report]) -> str:
    """The report of a run in a frame of its own, in which nothing runs; nothing of it becomes part of this page."""
    if name not in reports:
        return (
            "<p>There is no report on this run yet. <code>python -m pipeline.evaluate</code> writes one; start the "
            "demo again with it under <code>reports/</code>, or with <code>--report</code>.</p>"
        )
    source = f"{REPORT}{names.index(name)}"
    return (
        f'<p><a href="{source}" target="_blank" rel="noopener">Open the report in a tab of its own</a></p>'
        f'<iframe src="{source}" title="Evaluation report" sandbox referrerpolicy="no-referrer" loading="lazy">'
        "</iframe>"
    )


def _about(shelf: Shelf, name: str) -> str:
    with shelf.open(name) as loaded:
        return f"{loaded.about}. It errs; the report says how often. Not investment advice."


def _api(shelf: Shelf) -> None:
    def classify(tweet: str, run: str | None = None) -> dict[str, Any]:
        """Sentiment of one tweet, by a tuned language model.

        Args:
            tweet: the text, at most 1,000 characters.
            run: name of one of the runs that are served; the first if not given.

        Returns:
            label (null where the model wrote none), confidence, the probability of each label, the raw completion,
            whether to abstain (null where no evaluation settled a threshold), and a reason where something is wrong.
        """
        with _plainly():
            text = answers.checked(tweet)
            name = shelf.name(run)
            with shelf.open(name) as loaded:
                return answers.as_json(name, *answers.tuned(loaded, text))

    gr.api(classify, api_name="classify")


def api_lines(address: str, *, mcp: bool) -> str:
    """How a program asks, in Markdown."""
    python = (
        "from gradio_client import Client\n\n"
        f'client = Client("{address}")\n'
        'print(client.predict(tweet="so happy today", api_name="/classify"))'
    )
    curl = (
        f"id=$(curl -s {address}gradio_api/call/v2/classify -H 'Content-Type: application/json' \\\n"
        '  -d \'{"tweet": "so happy today"}\' | sed \'s/.*: *"//; s/".*//\')\n'
        f"curl -sN {address}gradio_api/call/classify/$id"
    )
    tool = (
        f"\n\n## MCP\n\n`{address}gradio_api/mcp/` offers the same as a tool (streamable HTTP)."
        if mcp
        else "\n\n`--mcp` serves the same as a tool for language models."
    )
    return (
        "One tweet in; out come `label`, `confidence`, `probabilities`, `completion`, `abstained`, `reason`, `run`. "
        f'Behind a password, `Client(..., httpx_kwargs={{"auth": ("user", "password")}})` and `curl -u user`.'
        f"\n\n## Python\n\n```python\n{python}\n```\n\n## curl\n\n```bash\n{curl}\n```{tool}"
    )


@contextmanager
def _plainly() -> Iterator[None]:
    """Our errors as messages on the page, which takes them for HTML."""
    try:
        yield
    except (PipelineError, MemoryError) as error:
        message = without_home(str(error) or "out of memory")
        raise gr.Error(html.escape(message, quote=False), print_exception=False) from error
