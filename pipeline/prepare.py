"""The command ``python -m pipeline.prepare``: from a file of labelled tweets to three splits that do not leak."""

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from pipeline import artifacts, cli
from pipeline.artifacts import Row
from pipeline.errors import PipelineError
from pipeline.task import SENTIMENT_INSTRUCTION, Task

if TYPE_CHECKING:
    from pipeline.dataset.records import Dropped, Example, Sifted

log = logging.getLogger("pipeline.prepare")  # also where this module runs as __main__


@dataclass(frozen=True)
class PrepareConfig:
    """What to prepare, and how."""

    source: str
    """File of labelled tweets (.csv .tsv .json .jsonl .parquet), or a folder made with Dataset.save_to_disk."""
    out: str
    """Folder to write, such as data/prepared/btc; it must not exist yet."""
    labels: str | None = None
    """What the label values mean, in the order the classes shall have, such as 0=Bearish,2=Neutral,1=Bullish.
    Not needed for -1, 0, 1, for negative, neutral, positive, or for other words."""
    text_column: str | None = None
    """Column with the tweet, if it has an unusual name."""
    label_column: str | None = None
    """Column with the label, if it has an unusual name."""
    date_column: str | None = None
    """Column with the date, if it has an unusual name; only first and last date are recorded."""
    test_source: str | None = None
    """File that becomes the test split as it is: neither its copies nor its retweets and links are dropped."""
    drop_retweets: bool = True
    """Leave out tweets that start with RT."""
    drop_links: bool = True
    """Leave out tweets with a web address."""
    duplicates: Literal["one", "all"] = "one"
    """Of tweets that are equal but for mentions, links, numbers, case and punctuation: keep one, or all."""
    val: float = 0.10
    """Share of the rows for validation, between 0 and 1."""
    test: float = 0.25
    """Share of the rows for testing, between 0 and 1; without effect on the splits when test_source is given."""
    train_rows: int | None = None
    """Number of training rows to keep, drawn at random with the classes in proportion; all if not given."""
    instruction: str = SENTIMENT_INSTRUCTION
    """What the model is asked to do with the tweet; the same in every row."""
    seed: int = 42
    """Seed of the splits and of the sample."""


def prepare(config: PrepareConfig) -> Path:
    """Turns a file of labelled tweets into rows for tuning, in three splits.

    Cleans the texts, reads the labels, leaves out what cannot be used, finds copies and near-copies, and divides the
    rest into train, val and test so that no tweet has a copy in another split. Writes a folder with train.json,
    val.json and test.json (lists of instruction, input, output), dropped.jsonl (every row that was left out, and why),
    classes.svg (a picture of the classes) and manifest.json (what was done, in numbers).
    """
    _check(config)
    out = artifacts.refuse_existing(config.out)
    loaded = _load(config)
    # The libraries for what follows take seconds to load; a file that cannot be read is told of before.
    from pipeline.dataset.duplicates import group_duplicates
    from pipeline.dataset.summary import count_classes, count_reasons, describe_duplicates, summary_table
    from pipeline.scoring.figures import class_distribution

    usable = [*loaded.source.kept, *loaded.test.kept]
    numbers = group_duplicates([example.template for example in usable])
    groups = {example.id: number for example, number in zip(usable, numbers, strict=True)}
    parts, dropped, leaks = _divide(config, loaded, groups)
    kept = sum(len(rows) for rows in parts.values())
    if kept + len(dropped) != loaded.read:
        raise AssertionError(f"{loaded.read} rows were read, but {kept} kept and {len(dropped)} dropped")
    content = {
        **loaded.origin,
        "rows": {"read": loaded.read, "kept": kept, "dropped": count_reasons(dropped)},
        "classes": count_classes(parts, loaded.task.labels),
        "duplicates": describe_duplicates(usable, groups, loaded.task.labels, dropped),
        "leakage": leaks,
    }
    with artifacts.new_folder(out) as folder:
        for name, examples in parts.items():
            rows = [Row(e.id, config.instruction, e.text, e.label, groups[e.id]).to_json() for e in examples]
            artifacts.write_text(folder / f"{name}.json", artifacts.dump_json(rows))
        artifacts.write_text(folder / "dropped.jsonl", artifacts.dump_jsonl(row.to_json() for row in dropped))
        picture = class_distribution(content["classes"], loaded.task.labels)
        artifacts.write_text(folder / "classes.svg", picture)
        artifacts.write_manifest(folder, "prepared", loaded.task, content)
    log.info("%s", summary_table(content))
    return out


@dataclass(frozen=True)
class _Loaded:
    """The files after cleaning; ``test`` is empty without an official test file, ``origin`` goes to the manifest."""

    task: Task
    source: "Sifted"
    test: "Sifted"
    read: int
    origin: Mapping[str, Any]


def _check(config: PrepareConfig) -> None:
    """Finds what is wrong with the options alone, before a file is opened."""
    for name in ("val", "test"):
        if not 0 < getattr(config, name) < 1:
            raise PipelineError(f"--{name}: expected a share between 0 and 1, got {getattr(config, name)}")
    if config.test_source is None and config.val + config.test >= 1:
        raise PipelineError(
            f"--val, --test: expected together less than 1, got {config.val} and {config.test}; leave rows for training"
        )


def _load(config: PrepareConfig) -> _Loaded:
    """Reads, labels and cleans the source and, where there is one, the official test file."""
    from pipeline.dataset.cleaning import clean_rows
    from pipeline.dataset.columns import find_columns, texts_of
    from pipeline.dataset.labels import classes_of, find_classes
    from pipeline.dataset.reading import fingerprint, read_table
    from pipeline.dataset.records import Sifted

    table = read_table(config.source)
    columns = find_columns(table, config.text_column, config.label_column, config.date_column)
    tables = [table]
    if config.test_source is not None:
        tables.append(read_table(config.test_source))
        find_columns(tables[1], columns.text, columns.label)
    classes = find_classes([(each, columns.label) for each in tables], config.labels)
    task = Task(labels=classes.labels, instruction=config.instruction)
    # An official test file stays whole, so that the numbers compare with published ones.
    filters = [(config.drop_retweets, config.drop_links, ""), (False, False, "test:")]
    sifted = [
        clean_rows(
            each,
            texts_of(each, columns.text),
            classes_of(each, columns.label, classes),
            drop_retweets=drop_retweets,
            drop_links=drop_links,
            prefix=prefix,
        )
        for each, (drop_retweets, drop_links, prefix) in zip(tables, filters, strict=False)
    ]
    options = dataclasses.asdict(config)
    paths = {name: options.pop(name) for name in ("source", "test_source", "out")}
    origin: dict[str, Any] = {
        name: {"path": paths[name], "sha256": fingerprint(paths[name]), "columns": dataclasses.asdict(columns)}
        for name in ("source", "test_source")
        if paths[name] is not None
    }
    origin["options"] = options
    origin["dates"] = None
    if columns.date is not None:
        from pipeline.dataset.dates import date_range

        origin["dates"] = date_range(table.values[columns.date])
    return _Loaded(task, sifted[0], sifted[1] if len(tables) > 1 else Sifted([], []), sum(map(len, tables)), origin)


def _divide(
    config: PrepareConfig, loaded: _Loaded, groups: Mapping[str, int]
) -> "tuple[dict[str, Sequence[Example]], list[Dropped], dict[str, Any]]":
    """The rows of every split, all rows that were left out, and what leaks in this split and in others."""
    from pipeline.dataset.copies import drop_copies_of, resolve_copies
    from pipeline.dataset.leakage import leakage, random_leakage
    from pipeline.dataset.splitting import sample, split

    official = config.test_source is not None
    if official and not loaded.test.kept:
        raise PipelineError(f"{config.test_source}: expected rows with a text and a label, got none; see --labels")
    steps = [loaded.source, loaded.test]
    steps.append(drop_copies_of(loaded.test.kept, loaded.source.kept, groups))
    steps.append(resolve_copies(steps[-1].kept, config.duplicates))
    rest = 1 - config.val if official else 1 - config.val - config.test
    shares = {"train": rest, "val": config.val} | ({} if official else {"test": config.test})
    labels = loaded.task.labels
    parts: dict[str, Sequence[Example]] = dict(
        split(steps[-1].kept, groups, labels=labels, shares=shares, seed=config.seed)
    )
    if config.train_rows is not None:
        steps.append(sample(parts["train"], config.train_rows, config.seed))
        parts["train"] = steps[-1].kept
    if official:
        parts["test"] = loaded.test.kept
    leaks = {"made": leakage(parts["train"], parts["test"], groups).to_json()}
    if official:
        leaks["official_split"] = leakage(loaded.source.kept, loaded.test.kept, groups).to_json()
    leaks["random_split"] = random_leakage(loaded.source.kept, groups, config.test, config.seed).to_json()
    return parts, [row for step in steps for row in step.dropped], leaks


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Runs the command line; exits with its code."""
    cli.run(
        PrepareConfig,
        prepare,
        argv,
        name="python -m pipeline.prepare",
        example="python -m pipeline.prepare --source tweets.csv --out data/prepared/tweets",
    )


if __name__ == "__main__":
    main()
