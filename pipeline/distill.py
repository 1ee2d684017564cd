"""The command ``python -m pipeline.distill``: a teacher model grows the classes that are too small to learn."""

import contextlib
import json
import logging
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from pipeline import cli, growing
from pipeline.artifacts import SPLITS, PreparedDataset, Row, refuse_existing
from pipeline.distilled import DROPPED, Growth, is_finished, keep_dropped, lines_of, reasons, write_folder
from pipeline.errors import PipelineError, StoppedError, did_you_mean
from pipeline.locking import LOCK, Lock
from pipeline.task import Task

if TYPE_CHECKING:
    from pipeline.dataset.annotating import Unlabelled
    from pipeline.dataset.written import Rules
    from pipeline.growing import Grown
    from pipeline.teacher.asking import Teacher
    from pipeline.teacher.desk import Desk
    from pipeline.teacher.ledger import Ledger
    from pipeline.teacher.scenes import Scenes

log = logging.getLogger("pipeline.distill")

_FOR_ADDRESSES = ("model", "request", "price_in", "price_out", "max_cost")
_SCENES = Path(__file__).resolve().parent / "configs" / "scenes"


_SECTIONS = {
    "write": "How many, of what",
    "annotate": "Real tweets instead of written ones",
    "scenes": "What the teacher is told",
    "check": "What is kept",
    "per_call": "Calls",
    "price_in": "What it may cost",
    "device": "How to compute",
}


@dataclass(frozen=True)
class DistillConfig:
    """What to grow, and by which teacher."""

    dataset: str
    """Folder written by pipeline.prepare, or by pipeline.distill before."""
    out: str
    """Folder to write, such as data/prepared/btc_distilled; it must not exist yet. Finished calls are kept beside it,
    in OUT.calls: the same command goes on from there, and pays for no call twice; once it is finished, for none."""
    teacher: str
    """Address of an OpenAI-compatible endpoint, such as https://api.openai.com/v1, whose key is read from
    OPENAI_API_KEY; or a model that pipeline.train would take as --base_model."""
    model: str | None = None
    """Name of the model at the endpoint."""
    write: int | None = None
    """Tweets to have written for each class; if not given, what the classes lack of --grow."""
    label: list[str] = field(default_factory=list)
    """Classes to grow, or, with --annotate, labels to keep; if not given, those that are too small, or all."""
    grow: float = 0.5
    """A class is too small with fewer training rows than this share of the largest one, and is grown up to it."""
    annotate: str | None = None
    """File of real tweets to have labelled, instead of having some written; labels that it has are compared."""
    text_column: str | None = None
    """For --annotate: the column with the tweets, if it has an unusual name."""
    label_column: str | None = None
    """For --annotate: the column with people's labels, likewise."""
    scenes: str | None = None
    """What to write about: a YAML file, or bitcoin, which is there; needed to have tweets written. With --annotate it
    tells the teacher what the classes mean."""
    examples: int = 0
    """Training tweets of the class to show in each call, drawn at random; they leave this machine."""
    check: bool = False
    """Have every written tweet labelled again by the teacher, and keep it only where the label is the same."""
    agreement: int = 0
    """Validation tweets to have labelled by the teacher, to tell how far it agrees with people; they leave this
    machine, and no row is made of them."""
    shortest: int = 15
    """Characters that a new tweet must have."""
    longest: int = 280
    """Characters that a new tweet may have."""
    any_language: bool = False
    """Keep new tweets in languages that the training tweets are not in."""
    per_call: int = 5
    """Tweets to ask an endpoint for in a call; a model on this machine writes one at a time."""
    temperature: float = 1.0
    """How freely to write: above 0."""
    concurrency: int = 4
    """Calls to an endpoint at a time."""
    timeout: float = 60.0
    """Seconds to wait for an endpoint's answer."""
    retries: int = 6
    """Times that a call which failed is repeated, after growing waits."""
    request: str | None = None
    """JSON object laid over the body of every call, such as {"reasoning_effort": "low", "temperature": null}; null
    leaves a key out."""
    price_in: float | None = None
    """Price of a million tokens that the endpoint reads, in any currency."""
    price_out: float | None = None
    """Price of a million tokens that it writes."""
    max_calls: int | None = None
    """Calls that may be made, those of earlier starts of the same command included."""
    max_cost: float | None = None
    """What all calls may cost; needs both prices."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where a model on this machine computes; auto takes a GPU if there is one."""
    seed: int = 42
    """Seed of scenes, examples and samples."""


def distill(config: DistillConfig) -> Path:
    """Grows the classes that are too small: a teacher model writes tweets of them, or labels tweets of a file.

    What comes back is cleaned, compared with every row that is there, and added to the training split of a new prepared
    folder, marked as synthetic; val.json and test.json stay byte for byte as they are. dropped.jsonl lists what was
    not used and why, distilled.jsonl where each new row is from, manifest.json teacher, prompts, counts and cost.
    It can be stopped or killed at any moment: the same command goes on, and pays for no finished call again. Where it
    is finished already, nothing is done.
    """
    extra = _check(config)
    dataset = PreparedDataset.load(config.dataset)
    task = dataset.task
    _check_labels(config, task)
    scenes_file = None if config.scenes is None else _scenes_path(config.scenes)
    if is_finished(config, Path(config.out), dataset, scenes_file):
        log.info("%s: is finished already", config.out)
        return Path(config.out)
    out = refuse_existing(config.out)
    rows = {split: dataset.rows(split) for split in SPLITS}
    classes = Counter(row.output for row in rows["train"])
    amounts: dict[str, int] = {}
    if config.annotate is None:
        counts = {label: classes[label] for label in task.labels}
        amounts = growing.wanted(counts, config.label, config.write, config.grow)
        if not amounts:
            raise PipelineError(
                f"{dataset.folder}: no class has fewer training rows than {config.grow:g} of the largest one "
                f"({', '.join(f'{label} {n:,}' for label, n in counts.items())}); name one by --label, or raise --grow"
            )
        log.info("to be written: %s", ", ".join(f"{n:,} {label}" for label, n in amounts.items()))
    # Whatever is wrong with a file is told before anything is paid for.
    scenes = None if scenes_file is None else _scenes(scenes_file, task)
    found = None if config.annotate is None else _unlabelled(config, config.annotate, dataset, rows["train"])
    with _desk(config, task, out, extra) as desk:
        grown, agreed = _grow(config, desk, dataset, rows, amounts, scenes, found)
        if not grown.kept:
            why = ", ".join(f"{reason} {n:,}" for reason, n in reasons(grown).items())
            listed = keep_dropped(desk.ledger.path.parent, grown)
            raise PipelineError(
                f"{config.teacher}: expected tweets to add, got none that can be used: {why or 'no tweet at all'}; "
                f"{listed} has each with its reason; choose another teacher, or other scenes or tweets"
            )
        growth = Growth(grown, agreed, amounts, scenes, found)
        content = write_folder(config, out, dataset, rows, desk, growth)
        (desk.ledger.path.parent / DROPPED).unlink(missing_ok=True)  # of a start that came to nothing
    _tell(content["distilled"][-1], out, desk.ledger)
    return out


def _check(config: DistillConfig) -> Mapping[str, Any]:
    """Finds what is wrong with the options alone; gives ``--request``."""
    from pipeline.teacher.endpoint import check_address, is_address, most_of_an_answer

    remote = is_address(config.teacher)
    if remote:
        check_address(config.teacher)
        if not config.model:
            raise PipelineError("--model: expected the name of the model at the endpoint, got none")
    elif given := [f"--{name}" for name in _FOR_ADDRESSES if getattr(config, name) is not None]:
        raise PipelineError(
            f"{', '.join(given)}: expected an address as --teacher beside it, which begins with http:// or https://, "
            f"got {config.teacher}"
        )
    if config.annotate is not None and (config.write is not None or config.check or config.examples):
        raise PipelineError("--annotate: expected no --write, --check or --examples beside it; nothing is written then")
    if config.annotate is None and (config.text_column or config.label_column):
        raise PipelineError("--text_column, --label_column: expected --annotate with them")
    if config.annotate is not None and not Path(config.annotate).is_file():
        raise PipelineError(f"--annotate {config.annotate}: no such file; expected a file of tweets")
    if config.annotate is None and config.scenes is None:
        raise PipelineError(
            "--scenes: expected a YAML file that says what to write about, got none; bitcoin is one that is there, "
            "docs/distilling.md tells how to write another"
        )
    least: tuple[tuple[str, float], ...] = (
        *(("write", 1), ("examples", 0), ("agreement", 0), ("shortest", 1), ("per_call", 1), ("concurrency", 1)),
        *(("retries", 0), ("max_calls", 1), ("price_in", 0), ("price_out", 0), ("max_cost", 0), ("seed", 0)),
    )
    for name, lowest in least:
        value = getattr(config, name)
        if value is not None and not lowest <= value < float("inf"):
            raise PipelineError(f"--{name}: expected {lowest:g} or more, got {value}")
    for name in ("temperature", "timeout"):
        if not 0 < getattr(config, name) < float("inf"):
            raise PipelineError(f"--{name}: expected a number above 0, got {getattr(config, name)}")
    if not 0 < config.grow <= 1:
        raise PipelineError(f"--grow: expected a share above 0 and up to 1, got {config.grow}")
    if config.longest < config.shortest:
        raise PipelineError(f"--longest: expected --shortest {config.shortest} or more, got {config.longest}")
    if config.max_cost is not None and (config.price_in is None or config.price_out is None):
        raise PipelineError(
            "--max_cost: expected --price_in and --price_out with it, else nobody knows what a call costs"
        )
    if config.request is None:
        return {}
    try:
        extra = json.loads(config.request)
        json.dumps(extra, allow_nan=False)
    except (ValueError, RecursionError) as error:
        raise PipelineError(f"--request: expected a JSON object, got {config.request[:60]!r}: {error}") from error
    if not isinstance(extra, dict):
        raise PipelineError(f"--request: expected a JSON object, got {config.request[:60]!r}")
    if config.max_cost is not None and most_of_an_answer(extra, 1) is None:
        raise PipelineError(
            "--max_cost: expected a whole number for max_tokens or max_completion_tokens in --request, which else "
            "leaves the length of an answer without a bound, got none"
        )
    if taken := [name for name in ("model", "messages", "stream", "n") if name in extra]:
        raise PipelineError(f"--request: expected no {taken[0]!r} in it; that is not to be changed")
    return extra


def _check_labels(config: DistillConfig, task: Task) -> None:
    for label in config.label:
        if label not in task.labels:
            raise PipelineError(
                f"--label {label}: expected one of {', '.join(task.labels)}{did_you_mean(label, task.labels)}"
            )
    if len(set(config.label)) != len(config.label):
        raise PipelineError(f"--label: expected every class once, got {', '.join(config.label)}")


def _scenes(path: Path, task: Task) -> "Scenes":
    from pipeline.teacher.scenes import read_scenes

    try:
        return read_scenes(path, task.labels)
    except PipelineError as error:
        if path.resolve().parent != _SCENES:
            raise
        # Of the files that are there nothing else can be wrong, and they are not to be edited.
        raise PipelineError(
            f"--scenes {path.stem}: is for other classes than {', '.join(task.labels)}; write a file of your own, "
            "docs/distilling.md tells how"
        ) from error


def _scenes_path(scenes: str) -> Path:
    known = sorted(path.stem for path in _SCENES.glob("*.yaml"))
    path = Path(scenes)
    if not path.is_file() and scenes in known:
        return _SCENES / f"{scenes}.yaml"
    if not path.is_file():
        got = "is a folder" if path.is_dir() else "no such file"
        raise PipelineError(f"--scenes {scenes}: expected a YAML file, or {', '.join(known)}; {got}")
    return path


@contextlib.contextmanager
def _desk(config: DistillConfig, task: Task, out: Path, extra: Mapping[str, Any]) -> "Iterator[Desk]":
    """The teacher with its ledger in ``OUT.calls``, which nobody else may write to meanwhile."""
    from pipeline.teacher.desk import Desk
    from pipeline.teacher.endpoint import is_address
    from pipeline.teacher.ledger import Budget, Ledger, Prices

    folder = out.with_name(f"{out.name}.calls")
    # Before the folder: a teacher that is not to be had leaves nothing behind.
    teacher = _teacher(config, task, extra)
    if not os.path.isdir(folder):  # noqa: PTH112 - no error where the name is too long
        refuse_existing(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with Lock(folder, "is distilling into it") as lock:
        lock.take()
        prices = Prices(config.price_in, config.price_out) if is_address(config.teacher) else Prices(0.0, 0.0)
        ledger = Ledger(folder, prices, Budget(config.max_calls, config.max_cost))
        if len(ledger):
            log.info("%s: finished calls are there (%d) and are not made again", folder, len(ledger))
        try:
            yield Desk(teacher, ledger)
        except BaseException as error:
            # Said here and nowhere else: whoever raises it cannot know whether there are any.
            if len(ledger):
                log.warning("%s: finished calls are kept there (%d) and are not made again", folder, len(ledger))
            if isinstance(error, KeyboardInterrupt):
                raise StoppedError(f"{out}: stopped; go on with the same command") from error
            raise
        finally:
            lock.remove()
            if not any(path.name != LOCK for path in folder.iterdir()):
                with contextlib.suppress(OSError):
                    folder.rmdir()


def _teacher(config: DistillConfig, task: Task, extra: Mapping[str, Any]) -> "Teacher":
    from pipeline.teacher.endpoint import Endpoint, is_address

    if is_address(config.teacher):
        return Endpoint(
            config.teacher, config.model or "", workers=config.concurrency, timeout=config.timeout,
            retries=config.retries, extra=extra,
        )  # fmt: skip
    from pipeline.model.base import check_base_model

    try:
        check_base_model(config.teacher)
    except PipelineError as error:
        raise PipelineError(str(error).replace("--base_model", "--teacher")) from error
    log.info("loading PyTorch, transformers and the teacher")
    from pipeline.model.local_teacher import LocalTeacher

    return growing.LocalDesk(LocalTeacher(config.teacher, task, config.device))


def _grow(
    config: DistillConfig,
    desk: "Desk",
    dataset: PreparedDataset,
    rows: Mapping[str, Sequence[Row]],
    amounts: Mapping[str, int],
    scenes: "Scenes | None",
    found: "Unlabelled | None",
) -> "tuple[Grown, dict[str, Any] | None]":
    """New examples, and the agreement on validation rows where it is wanted."""
    from pipeline.dataset.records import Example

    task = dataset.task
    meanings = None if scenes is None else scenes.meanings
    real = {split: [Example(row.id, row.input, row.output) for row in part] for split, part in rows.items()}
    # First: a teacher that does not know the task should not be paid for more.
    agreed = None
    if config.agreement:
        agreed = growing.agree(desk, rows["val"], config.agreement, task, meanings, config.seed)
        _tell_agreement(agreed)
    rules = _rules(config, dataset, rows["train"])
    if found is not None:
        grown = growing.annotate_tweets(
            desk, found.examples, found.human, config.label, task, meanings, rules, real, config.seed
        )
        grown.dropped = [*found.dropped, *grown.dropped]
        _tell_agreement(grown.agreement)
        return grown, agreed
    if scenes is None:
        raise AssertionError("nothing to do")
    order = growing.Order(
        config.per_call, config.examples, config.longest, config.temperature, config.check, config.seed
    )
    first = 1 + _last_number(dataset, rows["train"])
    return growing.write_tweets(desk, amounts, task, scenes, order, rules, real, rows["train"], first), agreed


def _unlabelled(config: DistillConfig, path: str, dataset: PreparedDataset, train: Sequence[Row]) -> "Unlabelled":
    """The tweets to be labelled, read as those of the data set were."""
    from pipeline.dataset.annotating import read_unlabelled

    options = dataset.manifest.get("options") or {}
    return read_unlabelled(
        path,
        dataset.task.labels,
        text_column=config.text_column,
        label_column=config.label_column,
        mapping=options.get("labels"),
        drop_retweets=options.get("drop_retweets", True),
        drop_links=options.get("drop_links", True),
        prefix=_prefix(train),
    )


def _prefix(train: Sequence[Row]) -> str:
    """What ids of labelled rows begin with; a second file has another prefix, since its rows are counted from 1 too."""
    taken = {row.id.rpartition(":")[0] for row in train if row.id.startswith(growing.LABELLED)}
    return f"{growing.LABELLED}{f'{len(taken) + 1}:' if taken else ''}"


def _last_number(dataset: PreparedDataset, train: Sequence[Row]) -> int:
    """The largest number of a tweet that was written before, whether it was used or not."""
    names = [row.id for row in train] + [str(row.get("id")) for row in lines_of(dataset, DROPPED)]
    return max(
        (int(name.removeprefix(growing.WRITTEN)) for name in names if name.startswith(growing.WRITTEN)), default=0
    )


def _rules(config: DistillConfig, dataset: PreparedDataset, train: Sequence[Row]) -> "Rules":
    from pipeline.dataset.languages import Languages
    from pipeline.dataset.written import Rules

    options = dataset.manifest.get("options") or {}
    own = [row.input for row in train if not row.synthetic] or [row.input for row in train]
    return Rules(
        labels=dataset.task.labels,
        shortest=config.shortest,
        longest=config.longest,
        languages=None if config.any_language else Languages.of(own),
        drop_retweets=options.get("drop_retweets", True),
        drop_links=options.get("drop_links", True),
        written=config.annotate is None,
    )


def _tell_agreement(found: dict[str, Any] | None) -> None:
    """How good the teacher's labels are, as soon as it is known: it is paid for, whatever comes after."""
    from pipeline.scoring.agreement import agreement_lines

    if found is not None:
        log.info("%s", "\n".join(agreement_lines(found)))


def _tell(step: Mapping[str, Any], out: Path, ledger: "Ledger") -> None:
    """What came of it, for the person at the screen."""
    added = ", ".join(f"{label} {n:,}" for label, n in step["added"].items())
    log.info("added to train, marked as synthetic: %s", added)
    for reason, n in step["dropped"].items():
        log.info("  not used, %s: %d", reason, n)
    if step["dropped"]:
        log.info("  %s has each of these", out / DROPPED)
    log.info(
        "%d calls, %s; they are kept in %s, which may be removed",
        len(ledger), ledger.told, ledger.path.parent,
    )  # fmt: skip


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Runs the command line; exits with its code."""
    cli.run(
        DistillConfig,
        distill,
        argv,
        name="python -m pipeline.distill",
        example="python -m pipeline.distill --dataset data/prepared/btc --teacher https://api.openai.com/v1 "
        "--model gpt-4o-mini --scenes bitcoin --label Negative --write 200 --out data/prepared/btc_distilled",
        sections=_SECTIONS,
    )


if __name__ == "__main__":
    main()
