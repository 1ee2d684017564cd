"""The command ``python -m pipeline.prepare``: from files of labelled tweets to splits that do not leak."""

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from pipeline import artifacts, cli
from pipeline.artifacts import Row
from pipeline.errors import PipelineError

if TYPE_CHECKING:
    from pipeline.dataset.loading import Loaded, LoadOptions
    from pipeline.dataset.records import Dropped, Example
    from pipeline.scoring.data_sections import DataContext

    Parts = Mapping[str, Sequence[Example]]

log = logging.getLogger("pipeline.prepare")  # also where this module runs as __main__

# What the presets of pipeline.train start from; the page says what these numbers mean for the data.
_MAX_LENGTH, _BATCH_SIZE = 256, 8
_SAMPLES_A_CLASS = 8


_SECTIONS = {
    "labels": "How to read them",
    "val_source": "Other files that count",
    "drop_retweets": "What to leave out",
    "split_by": "How to divide",
    "instruction": "What to ask, and chance",
}


@dataclass(frozen=True)
class PrepareConfig:
    """What to prepare, and how."""

    source: list[str]
    """Labelled tweets: files (.csv .tsv .txt .json .jsonl .parquet, also as .gz .zip .zst), folders of them,
    FILE=LABEL where all of a file has one label, hf:org/name:split or kaggle:owner/name."""
    out: str | None = None
    """Folder to write, such as data/prepared/btc; it must not exist yet."""
    inspect: bool = False
    """Show what was understood of the files, and write nothing."""
    labels: str | None = None
    """What the label values mean, in the order the classes shall have, low to high, such as
    0=Bearish,2=Neutral,1=Bullish, or bad,fair,good; other= says that other is no label, as NA, null, - and ? are. Not
    needed for -1, 0, 1 and negative, neutral, positive; other words are put in alphabetical order."""
    text_column: str | None = None
    """Column with the tweet, if it has an unusual name; its number in a file without a header."""
    label_column: str | None = None
    """Column with the label, likewise."""
    date_column: str | None = None
    """Column with the date, likewise."""
    date_order: Literal["day", "month"] | None = None
    """Which number stands first in dates such as 03/04/2018, where the column does not show it."""
    rater_columns: list[str] = field(default_factory=list)
    """Columns with single raters' labels, or one with a list of them: gives their agreement and a human ceiling."""
    encoding: str | None = None
    """Encoding of the text files, such as cp1252, if it is not found."""
    header: bool | None = None
    """Whether delimited files have a line with the names of the columns, if that is not found."""
    max_rejected: float = 0.01
    """Share of a file's rows that may be unreadable, from 0 to below 1; they are kept in rejected.jsonl."""
    val_source: str | None = None
    """File that becomes the validation split; its rows with a copy in the test split are left out."""
    test_source: str | None = None
    """File that becomes the test split as it is: neither its copies nor its retweets and links are dropped."""
    against: str | None = None
    """Another file, such as a benchmark's test rows, of which the splits should hold no copy; only measured."""
    overrides: str | None = None
    """Table with the columns id and label: a person's decisions, such as a corrected suspects.csv."""
    drop_retweets: bool = True
    """Leave out tweets that start with RT."""
    drop_links: bool = True
    """Leave out tweets with a web address."""
    duplicates: Literal["one", "all"] | int = "one"
    """Of tweets that are equal but for mentions, links, numbers, tickers, case and punctuation: keep one, or all. A
    number keeps at most so many of every group of near-duplicates."""
    conflicts: Literal["majority", "drop", "error"] = "majority"
    """Where copies have different labels: the majority's holds, all go, or stop."""
    split_by: str = "random"
    """random; time: train before validation before test, later copies of a text with its first one; or a column, such
    as author: its values stay together."""
    folds: int | None = None
    """Number of folds instead of one split, 2 to 10, each in a folder of its own; for small sets."""
    val: float = 0.10
    """Share of the rows for validation, between 0 and 1; without effect when val_source is given."""
    test: float = 0.25
    """Share of the rows for testing, between 0 and 1; without effect on the splits when test_source is given."""
    train_rows: int | None = None
    """Number of training rows to keep, drawn at random with the classes in proportion; all if not given."""
    instruction: str | None = None
    """What the model is asked to do with the tweet, the same in every row; if not given, the one that all rows of an
    instruction file have, else to detect the sentiment of the tweet."""
    seed: int = 42
    """Seed of the splits and of the samples."""


@dataclass(frozen=True)
class _Division:
    """How the rows were divided: one or, with folds, several times; and what was left out on the way."""

    parts: "Sequence[Parts]"
    dropped: "Sequence[Dropped]"
    conflicts: Sequence[Mapping[str, Any]]
    together: Mapping[str, int]
    facts: Mapping[str, Any]


def run(config: PrepareConfig) -> Path | None:
    """Turns files of labelled tweets into rows for tuning, in splits that do not leak, and shows what they are worth.

    Cleans the texts, reads the labels, leaves out what cannot be used, finds copies and near-copies, and divides the
    rest into train, val and test so that no tweet has a copy in another split. Writes a folder with train.json,
    val.json and test.json (lists of instruction, input, output), data.html (a page to look at), dropped.jsonl,
    rejected.jsonl and conflicts.jsonl (every row that was left out, and why), suspects.csv (labels to look at),
    README.md (a data card) and manifest.json (what was done, in numbers).
    """
    if config.inspect:
        _inspect(config)
        return None
    return prepare(config)


def prepare(config: PrepareConfig) -> Path:
    """Prepares a data set; gives the folder that it wrote.

    Raises:
        PipelineError: an option or a file is wrong; nothing has been written then.
    """
    _check(config)
    out = artifacts.refuse_existing(config.out or "")
    from pipeline.dataset.loading import dates_of, load

    options = _load_options(config)
    loaded = load(options)
    # The libraries for what follows take seconds to load; a file that cannot be read is told of before.
    from pipeline.dataset.bars import steps
    from pipeline.dataset.duplicates import group_duplicates
    from pipeline.dataset.summary import summary_table

    usable = loaded.usable
    numbers = group_duplicates([example.template for example in steps(usable, "templates")])
    groups = {example.id: number for example, number in zip(usable, numbers, strict=True)}
    dates, date_facts = dates_of(options, loaded)
    division = _divide(config, loaded, groups, dates)
    common, suspects = _describe(config, loaded, groups, dates, division)
    content = {**common, "dates": date_facts, "leakage": _usual_leakage(config, loaded, groups)}
    with artifacts.new_folder(out) as folder:
        context = _write_lists(folder, loaded, division, suspects)
        homes, facts = [folder], [division.facts]
        if config.folds is not None:
            homes = [folder / f"fold-{i + 1}" for i in range(config.folds)]
            facts = [{**facts[0], "folds": {"n": config.folds, "fold": i + 1}} for i in range(config.folds)]
        contents = [
            _write_dataset(config, loaded, home, parts, groups, division, {**content, "splits": each}, context)
            for home, each, parts in zip(homes, facts, division.parts, strict=True)
        ]
        if config.folds is not None:
            tests = {home.name: each["classes"]["test"] for home, each in zip(homes, contents, strict=True)}
            _write_overview(folder, loaded, {**content, "classes": tests}, context)
    log.info("%s", summary_table(contents))
    return out


def _check(config: PrepareConfig) -> None:
    """Finds what is wrong with the options alone, before a file is opened."""
    from pipeline.dataset.sources import divide

    if not config.source:
        raise PipelineError("--source: expected at least one file, got none; give --source tweets.csv")
    if config.out is None:
        raise PipelineError("--out: expected a folder to write, got none; give --out data/prepared/NAME, or --inspect")
    held_out = [name for name in ("val", "test") if getattr(config, f"{name}_source") is None]
    for name in ("val", "test"):
        if not 0 < getattr(config, name) < 1:
            raise PipelineError(f"--{name}: expected a share between 0 and 1, got {getattr(config, name)}")
    if config.folds is None and sum(getattr(config, name) for name in held_out) >= 1:
        raise PipelineError(
            f"--val, --test: expected together less than 1, got {config.val} and {config.test}; leave rows for training"
        )
    if not 0 <= config.max_rejected < 1:
        raise PipelineError(f"--max_rejected: expected a share from 0 to below 1, got {config.max_rejected}")
    if not 0 <= config.seed < 2**32:
        raise PipelineError(f"--seed: expected 0 to {2**32 - 1}, got {config.seed}")
    if isinstance(config.duplicates, int) and config.duplicates < 1:
        raise PipelineError(f"--duplicates: expected one, all, or a number from 1, got {config.duplicates}")
    if config.folds is not None and (len(held_out) < 2 or config.split_by == "time" or config.train_rows is not None):
        raise PipelineError(
            "--folds: expected no --val_source, --test_source, --train_rows or --split_by time beside it; a fold is "
            "made from all rows"
        )
    for name in ("val_source", "test_source", "against", "overrides"):
        path = getattr(config, name)
        if path is not None and not path.startswith(("hf:", "kaggle:")):
            try:
                divide(path)
            except PipelineError as error:
                raise PipelineError(f"--{name} {error}") from error


def _load_options(config: PrepareConfig) -> "LoadOptions":
    from pipeline.dataset.loading import LoadOptions

    return LoadOptions(**{f.name: getattr(config, f.name) for f in dataclasses.fields(LoadOptions)})


def _inspect(config: PrepareConfig) -> None:
    """Prints what was understood; on stdout, because it is the result."""
    from pipeline.dataset.inspection import inspect_table
    from pipeline.dataset.loading import read

    options = _load_options(config)
    for sources in (config.source, [config.val_source], [config.test_source]):
        if given := [source for source in sources if source is not None]:
            # A file that would be refused is shown all the same, with the rows that cannot be read.
            print(inspect_table(read(dataclasses.replace(options, max_rejected=1), given), options))


def _divide(
    config: PrepareConfig, loaded: "Loaded", groups: Mapping[str, int], dates: Mapping[str, datetime]
) -> _Division:
    """The rows of every split, all rows that were left out, and how the splits were made."""
    from pipeline.dataset.copies import cap_groups, find_conflicts, resolve_copies
    from pipeline.dataset.grouping import check_classes, drop_shared
    from pipeline.dataset.splitting import sample
    from pipeline.dataset.timesplit import drop_undated

    steps = list(loaded.sifted.values())
    dropped = [row for step in steps for row in step.dropped]
    pools: dict[str, Sequence[Example]] = {"train": loaded.sifted["source"].kept}
    pools |= {name: sifted.kept for name, sifted in loaded.sifted.items() if name != "source"}
    if config.split_by == "time":
        dated = drop_undated(pools["train"], dates)
        dropped += dated.dropped
        # The first copy stays for all, and that must be the one that was written first.
        pools["train"] = sorted(dated.kept, key=lambda example: dates[example.id])
    own, shared = drop_shared(pools, groups)
    dropped += shared
    conflicts = find_conflicts(own["train"], config.conflicts)
    resolved = resolve_copies(own["train"], "one" if config.duplicates == "one" else "all", config.conflicts)
    dropped += resolved.dropped
    if isinstance(config.duplicates, int):
        resolved = cap_groups(resolved.kept, groups, config.duplicates)
        dropped += resolved.dropped
    check_classes(loaded.task.labels, resolved.kept, dropped)
    together, parts, facts = _split(config, loaded, resolved.kept, groups, dates, list(own)[1:])
    if config.train_rows is not None:
        drawn = sample(parts[0]["train"], config.train_rows, config.seed)
        parts, dropped = [{**parts[0], "train": drawn.kept}], [*dropped, *drawn.dropped]
    complete = [
        {name: {**own, **each}[name] for name in ("train", "val", "test")} for each in parts
    ]  # a split of the user's own in its place
    return _Division(complete, dropped, conflicts, together, facts)


def _split(
    config: PrepareConfig,
    loaded: "Loaded",
    examples: "Sequence[Example]",
    groups: Mapping[str, int],
    dates: Mapping[str, datetime],
    own: Sequence[str],
) -> "tuple[Mapping[str, int], list[Parts], dict[str, Any]]":
    """What belongs together, the parts that are not the user's ``own``, once for every fold, and how they were made."""
    from pipeline.dataset.folds import folds
    from pipeline.dataset.splitting import split
    from pipeline.dataset.timesplit import split_by_time

    labels = loaded.task.labels
    held_out = {name: getattr(config, name) for name in ("val", "test") if name not in own}
    shares = {"train": 1 - sum(held_out.values()), **held_out}
    facts: dict[str, Any] = {
        "by": config.split_by,
        "column": None,
        "boundaries": None,
        "folds": None,
        "own_files": [*own],
    }
    if config.split_by == "time":
        found = split_by_time(examples, groups, dates, labels=labels, shares=shares)
        return groups, [found.parts], {**facts, **found.to_json()}
    together = groups
    if config.split_by != "random":
        together = _merged(config, loaded, examples, groups, shares)
        _warn_of_shared_values(config.split_by, loaded, examples)
        facts |= {"by": "column", "column": config.split_by}
    if config.folds is not None:
        made = folds(examples, together, labels=labels, k=config.folds, val=config.val, seed=config.seed)
        return together, [*made], {**facts, "folds": {"n": config.folds}}
    return together, [split(examples, together, labels=labels, shares=shares, seed=config.seed)], facts


def _warn_of_shared_values(column: str, loaded: "Loaded", examples: "Sequence[Example]") -> None:
    """Says where the user's own files share values, such as authors, with the rest: they are left as they are."""
    cells = loaded.cells(column)
    values = {cells.get(example.id) for example in examples} - {None, ""}
    for name, sifted in loaded.sifted.items():
        if name != "source" and (shared := values & {cells.get(example.id) for example in sifted.kept}):
            log.warning("! %d values of %s are in your %s file and in the other splits", len(shared), column, name)


def _merged(
    config: PrepareConfig,
    loaded: "Loaded",
    examples: "Sequence[Example]",
    groups: Mapping[str, int],
    shares: Mapping[str, float],
) -> dict[str, int]:
    """Groups of copies and of equal values in the column to split by."""
    from pipeline.dataset.grouping import check_merged, merge_groups
    from pipeline.text import fold

    column = config.split_by
    if column not in loaded.tables["source"].values:
        names = ", ".join(loaded.tables["source"].columns)
        raise PipelineError(f"--split_by {column}: expected random, time or one of the columns {names}")
    values = {id_: fold(str(cell)) for id_, cell in loaded.cells(column).items() if cell is not None}
    keys = {id_: value for id_, value in values.items() if value and id_ in groups}
    together = merge_groups(groups, keys)
    check_merged(examples, together, keys, column, shares)
    return together


def _describe(
    config: PrepareConfig,
    loaded: "Loaded",
    groups: Mapping[str, int],
    dates: Mapping[str, datetime],
    division: _Division,
) -> "tuple[dict[str, Any], Any]":
    """What the manifest says of all rows, whatever their split; and the labels to look at."""
    from pipeline.dataset import lexicons
    from pipeline.dataset.campaigns import campaigns, class_shares_in_copies
    from pipeline.dataset.held_out import held_out
    from pipeline.dataset.learnability import learnability
    from pipeline.dataset.lengths import TokenCounter, describe_lengths
    from pipeline.dataset.summary import count_reasons, describe_duplicates
    from pipeline.dataset.suspects import find_suspects
    from pipeline.dataset.tables import describe_rejected
    from pipeline.dataset.timeline import timeline
    from pipeline.model.counting import BASE_MODEL, prompt_lengths
    from pipeline.scoring.baselines import word_model

    labels, usable, tables = loaded.task.labels, loaded.usable, list(loaded.tables.values())
    kept = [example for rows in division.parts[0].values() for example in rows]
    rejected = sum(len(table.rejected) for table in tables)
    read = rejected + sum(map(len, tables))
    if rejected + len(kept) + len(division.dropped) != read:
        raise AssertionError(
            f"{read} rows read, {rejected} rejected, {len(kept)} kept, {len(division.dropped)} dropped"
        )
    counter = prompt_lengths(loaded.task, _MAX_LENGTH)
    found = held_out(kept, groups, labels, word_model(config.seed), seed=config.seed)
    suspects = None if found is None else find_suspects(found)
    agreement = lexicons.lexicon_agreement(
        [example.text for example in usable], [example.label for example in usable], labels, seed=config.seed
    )
    options = dataclasses.asdict(config)
    content = {
        "source": {
            "files": [
                {"split": name, **file.to_json()} for name, table in loaded.tables.items() for file in table.files
            ],
            "columns": dataclasses.asdict(loaded.columns),
        },
        "options": {name: value for name, value in options.items() if name not in ("source", "out", "inspect")},
        "rows": {"read": read, "rejected": rejected, "kept": len(kept), "dropped": count_reasons(division.dropped)},
        "rejected": describe_rejected(tables),
        "duplicates": {
            **describe_duplicates(usable, groups, labels, division.dropped),
            "policy": config.duplicates,
            "conflicts_policy": config.conflicts,
            "campaigns": campaigns(usable, groups, labels),
            "class_shares_in_copies": class_shares_in_copies(usable, groups, labels),
        },
        "splits": division.facts,
        "lengths": describe_lengths(
            [example.text for example in kept],
            None if counter is None else TokenCounter(BASE_MODEL, counter.count, counter.room),
            seed=config.seed,
        ),
        "timeline": timeline(kept, dates, labels),
        "labels": {
            "lexicons": lexicons.to_json(agreement),
            "learnable": None if found is None else learnability(found, config.seed).to_json(),
            "suspects": None if suspects is None else suspects.to_json(),
            "overrides": loaded.overrides,
            "raters": loaded.raters,
        },
    }
    return content, suspects


def _write_lists(folder: Path, loaded: "Loaded", division: _Division, suspects: Any) -> "DataContext":
    """Writes the lists of rows beside the splits; gives what the page shows of them."""
    rejected = [row.to_json() for table in loaded.tables.values() for row in table.rejected]
    artifacts.write_text(folder / "dropped.jsonl", artifacts.dump_jsonl(row.to_json() for row in division.dropped))
    artifacts.write_text(folder / "rejected.jsonl", artifacts.dump_jsonl(rejected))
    artifacts.write_text(folder / "conflicts.jsonl", artifacts.dump_jsonl(division.conflicts))
    if suspects is not None:
        artifacts.write_text(folder / "suspects.csv", suspects.to_csv())
    return {
        "rejected": rejected,
        "conflicts": division.conflicts,
        "suspects": [] if suspects is None else [suspect.to_json() for suspect in suspects.listed],
    }


def _write_dataset(
    config: PrepareConfig,
    loaded: "Loaded",
    folder: Path,
    parts: "Parts",
    groups: Mapping[str, int],
    division: _Division,
    common: Mapping[str, Any],
    context: "DataContext",
) -> dict[str, Any]:
    """Writes one finished data set: the splits, their page, their card and their manifest, whose content it gives."""
    from pipeline.dataset.alarms import find_alarms
    from pipeline.dataset.leakage import leakage
    from pipeline.dataset.power import describe_imbalance, describe_power
    from pipeline.dataset.splitting import sample
    from pipeline.dataset.summary import count_classes
    from pipeline.scoring.comparison import smallest_detectable
    from pipeline.scoring.data_card import render_data_card
    from pipeline.scoring.data_page import render_data_page
    from pipeline.scoring.figures import class_distribution

    labels = loaded.task.labels
    classes = count_classes(parts, labels)
    against, matches = _contamination(loaded, parts)
    made = {"made": leakage(parts["train"], parts["test"], groups).to_json()}
    content = {
        **common,
        "classes": classes,
        "leakage": {**made, **common["leakage"], **against},
        "imbalance": describe_imbalance(classes["train"], _BATCH_SIZE),
        "power": describe_power(parts["test"], division.together, labels, smallest_detectable),
    }
    content["alarms"] = find_alarms(content)
    samples = [
        {"split": name, "label": label, "id": example.id, "text": example.text}
        for name in ("train", "test")
        for label in labels
        for rows in [[example for example in parts[name] if example.label == label]]
        for example in sample(rows, min(len(rows), _SAMPLES_A_CLASS // 2), config.seed).kept
    ]
    folder.mkdir(exist_ok=True)
    for name, examples in parts.items():
        rows = (
            Row(e.id, loaded.task.instruction, e.text, e.label, division.together[e.id]).to_json() for e in examples
        )
        artifacts.write_text(folder / f"{name}.json", artifacts.dump_rows(rows))
    if matches is not None:
        artifacts.write_text(folder / "against.jsonl", artifacts.dump_jsonl(matches))
    artifacts.write_text(folder / "classes.svg", class_distribution(classes, labels))
    artifacts.write_text(folder / "data.html", render_data_page(content, {**context, "samples": samples}))
    artifacts.write_text(folder / "README.md", render_data_card(content))
    artifacts.write_manifest(folder, "prepared", loaded.task, content)
    return content


def _write_overview(folder: Path, loaded: "Loaded", content: dict[str, Any], context: "DataContext") -> None:
    """Finishes the folder that holds the folds: what is the same for all, and the classes of each test."""
    from pipeline.dataset.alarms import find_alarms
    from pipeline.scoring.data_page import render_data_page

    content["alarms"] = find_alarms(content)
    artifacts.write_text(folder / "data.html", render_data_page(content, context))
    artifacts.write_manifest(folder, "folds", loaded.task, content)


def _usual_leakage(config: PrepareConfig, loaded: "Loaded", groups: Mapping[str, int]) -> dict[str, Any]:
    """What leaks in the splits that would be made otherwise."""
    from pipeline.dataset.leakage import leakage, random_leakage

    source = loaded.sifted["source"].kept
    found = random_leakage(source, groups, config.test, config.seed)
    leaks = {} if found is None else {"random_split": found.to_json()}
    if "test" in loaded.sifted:
        leaks = {"official_split": leakage(source, loaded.sifted["test"].kept, groups).to_json(), **leaks}
    return leaks


def _contamination(loaded: "Loaded", parts: "Parts") -> tuple[dict[str, Any], list[dict[str, str]] | None]:
    """What each split has in common with the file ``against``, and the rows; nothing without one."""
    if loaded.against is None:
        return {}, None
    from pipeline.dataset.contamination import contamination

    found, matches = contamination(parts, loaded.against)
    leaks = {"against" if name == "test" else f"against_{name}": each.to_json() for name, each in found.items()}
    return leaks, [match.to_json() for match in matches]


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Runs the command line; exits with its code."""
    cli.run(
        PrepareConfig,
        run,
        argv,
        name="python -m pipeline.prepare",
        example="python -m pipeline.prepare --source tweets.csv --out data/prepared/tweets",
        sections=_SECTIONS,
    )


if __name__ == "__main__":
    main()
