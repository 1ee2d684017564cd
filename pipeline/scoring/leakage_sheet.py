"""The leakage sheet: each way in which a test can say too much of a model, what rules it out here, or what does not.

The first eight are those of Kapoor and Narayanan, "Leakage and the reproducibility crisis in machine-learning-based
science" (Patterns 4, 2023); the ninth is that of models which have read the web.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from pipeline.scoring.page import moment, share_text
from pipeline.scoring.verdict import name_of

RULED_OUT, CHECKED, POSSIBLE, NOT_KNOWN = STATUSES = ("ruled out", "checked", "possible", "not known")
# With more rows than this left out before the split, the test stands for those that are easy to keep.
_MANY_LEFT_OUT = 0.05
_LISTS = {"textblob": "TextBlob", "vader": "VADER"}

Found = tuple[str, str]


class _Case(NamedTuple):
    """What is known: the manifests of the data and of the run, the scores, and the looks at the test rows."""

    data: Mapping[str, Any]
    run: Mapping[str, Any]
    metrics: Mapping[str, Any]
    looks: Mapping[str, Any] | None

    def at(self, *keys: str) -> Mapping[str, Any]:
        """The mapping at a path in the data's manifest; empty where a step is absent or null."""
        found: Any = self.data
        for key in keys:
            found = found.get(key) if isinstance(found, Mapping) else None
        return found if isinstance(found, Mapping) else {}

    def rows(self, split: str) -> int:
        """Number of rows of a split; 0 where it is not known."""
        return sum(self.at("classes", split).values())

    @property
    def judged(self) -> str:
        return name_of(self.metrics["candidate"])

    @property
    def own_files(self) -> Sequence[str]:
        """The splits that the user gave as files."""
        return self.at("splits").get("own_files") or ()


def leakage_sheet(
    data: Mapping[str, Any], run: Mapping[str, Any], metrics: Mapping[str, Any], looks: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The content of ``metrics.json`` under ``leakage_sheet``.

    A row is ``ruled out`` where the code or a setting leaves no way, ``checked`` where it was measured and nothing was
    found, ``possible`` where something speaks for it or nothing stands against it, ``not known`` where the evidence is
    missing.

    Args:
        data: the manifest of the prepared data set; keys that an older one lacks make rows ``not known``.
        run: the manifest of the run; empty where the candidate's answers came from a file.
        metrics: the scores so far: ``candidate``, ``picked_from``, ``rows``, ``systems``, and ``drift`` if it is there.
        looks: how often the test rows were evaluated ``before``, and for how many ``other_systems``.

    Returns:
        ``rows`` (each ``kind``, ``name``, ``meaning``, ``status``, ``evidence``), ``counts`` by status, ``sentence``.
    """
    case = _Case(data, run, metrics, looks)
    rows = []
    for kind, (name, meaning, judge) in _SHEET.items():
        status, evidence = judge(case)
        rows.append({"kind": kind, "name": name, "meaning": meaning, "status": status, "evidence": evidence})
    counts = {status: sum(row["status"] == status for row in rows) for status in STATUSES}
    return {"rows": rows, "counts": counts, "sentence": _sentence(rows)}


def _no_test_set(case: _Case) -> Found:
    tested = f"{case.metrics['rows']['n']:,} test rows"
    picked = case.metrics["picked_from"]
    if picked > 1:
        return POSSIBLE, f"{tested}, but the system was picked as the best of {picked:,} on these very rows."
    if not case.run:
        before = case.looks["other_systems"] if case.looks else 0
        looks = f" Other systems that were evaluated on these rows before: {before:,}." if before else ""
        return NOT_KNOWN, (
            f"{tested}; the answers came from a file, and what their maker trained on is not told there.{looks}"
        )
    if not case.rows("train"):
        return NOT_KNOWN, f"{tested}; the data's manifest does not say how many rows the other splits have."
    result = case.run.get("result") or {}
    best = result.get("best_score")
    chosen = "" if best is None else f" (step {result.get('best_step')}, score {best:.3f})"
    searched = case.run.get("search")
    settings = f"settings (by {searched['trials']:,} trials), " if searched else ""
    text = (
        f"{tested} beside {case.rows('train'):,} to train on and {case.rows('val'):,} for validation, by which alone "
        f"{settings}checkpoint{chosen}, temperature and threshold are chosen."
    )
    if case.looks is None:
        return NOT_KNOWN, f"{text} How often the test rows were looked at was not counted."
    if others := case.looks["other_systems"]:
        return POSSIBLE, (
            f"{text} But the test rows had been evaluated before (times: {case.looks['before']:,}; other systems: "
            f"{others:,}), and to choose among systems by these scores flatters the one chosen."
        )
    return CHECKED, f"{text} No evaluation of another system is noted beside the test rows."


def _preprocessing(case: _Case) -> Found:
    changed = case.at("labels", "overrides").get("changed", 0)
    if changed:
        return POSSIBLE, (
            f"A person changed {changed:,} labels by hand. If they went by the list of doubted labels, they went by a "
            "classifier that had learnt from rows of all splits."
        )
    alone = (
        "Every tweet is cleaned here by itself, and nothing is fitted to test rows; the vocabulary and the weights of "
        "the TF-IDF classifier come from the train rows alone. Only copies are searched among all rows, by their texts."
    )
    if not case.run:
        return NOT_KNOWN, f"What was done to the texts for {case.judged} is not known. {alone}"
    return RULED_OUT, f"{alone} The room for a prompt, {case.run.get('max_length', 'some')} tokens, is a setting."


def _feature_selection(case: _Case) -> Found:
    if not case.run:
        return NOT_KNOWN, f"What {case.judged} looks at, and how that was chosen, is not known."
    lora = (case.run.get("config") or {}).get("lora") or {}
    rank = f" of rank {lora['r']}" if "r" in lora else ""
    return RULED_OUT, (
        f"Nothing is selected: the model reads the whole tweet, and its LoRA adapter{rank} was trained on the train "
        "rows alone."
    )


def _duplicates(case: _Case) -> Found:
    made = case.at("leakage", "made")
    shares = [made.get(kind) for kind in ("exact", "template", "near")]
    if None in shares:
        return NOT_KNOWN, "The data's manifest does not say how many test rows have a copy among the train rows."
    exact, template, near = (share_text(float(share or 0)) for share in shares)
    text = (
        f"Of {case.metrics['rows']['n']:,} test rows, {exact} have an exact copy in train, {template} one up to names, "
        f"links and numbers, {near} a near-copy."
    )
    usual = case.at("leakage", "random_split").get("near")
    text += "" if usual is None else f" In a plain random split of all rows {share_text(usual)} would have one."
    other = case.at("leakage", "against_train").get("near")
    text += "" if other is None else f" {share_text(other)} of the train rows have one in the file given by --against."
    if synthetic := case.at("synthetic").get("rows"):
        text += f" Copies of them were left out of the {synthetic:,} synthetic train rows."
    return (POSSIBLE if any(shares) else CHECKED), text


def _illegitimate(case: _Case) -> Found:
    lists = case.at("labels", "lexicons")
    by_file = sum(file.get("label") is not None for file in case.at("source").get("files") or ())
    in_copies = sum(alarm["kind"] in ("campaign", "copies_carry_class") for alarm in case.data.get("alarms") or ())
    machine = any(found.get("machine_made") for found in lists.values())
    texts = ["the model is given the tweet alone, without its date or author"] if case.run else []
    if lists:
        name = max(sorted(lists), key=lambda name: float(lists[name]["agreement"]))
        found = lists[name]
        texts.append(
            f"the nearest word list, {_LISTS.get(name, name)}, gives the same label for "
            f"{share_text(found['agreement'])} of {found['n']:,} texts ({share_text(found['low'])} to "
            f"{share_text(found['high'])})"
        )
    if machine:
        texts.append("a label that a word list made can be read off the words, without understanding")
    if by_file:
        texts.append(f"files that hold one class alone: {by_file:,}; a habit of such a file can give its class away")
    if in_copies:
        texts.append(f"alarms about copies of single texts that carry a class: {in_copies:,}")
    if machine or by_file or in_copies:
        return POSSIBLE, _joined(texts)
    if not lists:
        return NOT_KNOWN, _joined([*texts, "no word list was compared with the labels"])
    return CHECKED, _joined(texts)


def _temporal(case: _Case) -> Found:
    splits, dates = case.at("splits"), case.at("dates")
    if not splits:
        return NOT_KNOWN, "The data's manifest does not say how the splits were made."
    starts = splits.get("boundaries") or {}
    if "test" in starts:
        later = sum((splits.get("later_copies") or {}).values())
        text = f"The splits follow each other in time; test texts first appeared from {moment(starts['test'])} on."
        return RULED_OUT, text + (f" {later:,} later copies of an older text are where that text is." if later else "")
    how = "The test is a file of its own" if "test" in case.own_files else "The split is not by time"
    if not (dates.get("first") and dates.get("last")):
        return NOT_KNOWN, f"{how}, and the tweets have no dates, so nobody can tell which came first."
    span = f"from {moment(dates['first'])} to {moment(dates['last'])}"
    return POSSIBLE, f"{how}, and the tweets are {span}: train tweets can be later than test tweets."


def _independence(case: _Case) -> Found:
    splits, groups = case.at("splits"), case.at("duplicates").get("groups")
    copies = f" Near-copies are kept together, in {groups:,} groups." if groups is not None else ""
    if not splits:
        return NOT_KNOWN, f"The data's manifest does not say how the splits were made.{copies}"
    if splits.get("by") != "column":
        return NOT_KNOWN, f"The split heeds no author, so one who wrote several tweets can be on both sides.{copies}"
    column = splits.get("column")
    if "test" in case.own_files:
        return POSSIBLE, f"The test is a file of its own, and can share values of {column} with train.{copies}"
    return CHECKED, f"No value of the column {column} is on two sides.{copies}"


def _sampling(case: _Case) -> Found:
    drift, rows = case.metrics.get("drift"), case.at("rows")
    if drift is None:
        texts = [f"the {case.metrics['rows']['n']:,} test tweets were not compared with train tweets"]
    else:
        texts = [str(drift["brief"]).removesuffix(".")]
    left_out = 0.0
    if "test" in case.own_files:
        texts.append("the test is a file of its own, in which no copy, retweet or link was left out")
    elif rows.get("read"):
        reasons = sorted((rows.get("dropped") or {}).items(), key=lambda item: (-item[1], item[0]))
        left_out = sum(n for _, n in reasons) / rows["read"]
        listed = f" ({', '.join(f'{reason} {n:,}' for reason, n in reasons[:3])})" if reasons else ""
        texts.append(f"{share_text(left_out)} of {rows['read']:,} rows were left out before the split{listed}")
    if left_out > _MANY_LEFT_OUT or (drift is not None and drift["level"] == "differ"):
        return POSSIBLE, _joined(texts)
    if drift is None or drift["level"] == "unknown":
        return NOT_KNOWN, _joined(texts)
    return CHECKED, _joined([*texts, "of tweets from elsewhere this says nothing"])


def _pretraining(case: _Case) -> Found:
    if not case.run:
        return NOT_KNOWN, f"What {case.judged} had read before it gave these answers is not told with them."
    model = (case.run.get("base_model") or {}).get("name", "the base model")
    last = case.at("dates").get("last")
    text = f"Nobody has listed what {model} read"
    text += f"; the tweets, up to {moment(last)}, may be in it" if last else ""
    if teachers := case.at("synthetic", "teachers"):
        text += f", nor what the teacher of the synthetic train rows did ({', '.join(teachers)})"
    systems = case.metrics["systems"]
    if "untuned" not in systems:
        return POSSIBLE, f"{text}. Its score without tuning is not there to compare."
    scores = (systems[name]["macro_f1"] for name in ("untuned", case.metrics["candidate"]))
    before, after = (f"{score['value']:.3f} ({score['low']:.3f} to {score['high']:.3f})" for score in scores)
    return POSSIBLE, f"{text}. Without tuning its macro-F1 is {before}, with it {after}."


_SHEET: Mapping[str, tuple[str, str, Callable[[_Case], Found]]] = {
    "no_test_set": ("No test set", "The system was trained or chosen on the rows that score it.", _no_test_set),
    "preprocessing": (
        "Preprocessing on both sides",
        "A step before training, such as filling gaps or oversampling, was fitted to test rows.",
        _preprocessing,
    ),
    "feature_selection": (
        "Features selected on both sides",
        "What the system looks at was chosen with the help of test rows.",
        _feature_selection,
    ),
    "duplicates": ("Duplicates", "A test tweet has a copy among the train tweets.", _duplicates),
    "illegitimate_features": (
        "Illegitimate features",
        "The input gives the label away by something that is not there in use, or from which the label was made.",
        _illegitimate,
    ),
    "temporal": ("Temporal leakage", "The system learnt from tweets later than those it is tested on.", _temporal),
    "independence": (
        "Train and test not independent",
        "Tweets of one author, thread or event are on both sides.",
        _independence,
    ),
    "sampling": ("Sampling bias", "The test tweets are not like those that the system is meant for.", _sampling),
    "pretraining": ("Pre-training", "The base model had read these tweets or their labels before.", _pretraining),
}


def _joined(clauses: Sequence[str]) -> str:
    """Clauses as one sentence."""
    text = "; ".join(clauses)
    return f"{text[:1].upper()}{text[1:]}."


def _sentence(rows: Sequence[Mapping[str, str]]) -> str:
    names = {status: [row["name"].lower() for row in rows if row["status"] == status] for status in STATUSES}
    clauses = []
    for status, found in names.items():
        listed = f" ({', '.join(found)})" if found and status in (POSSIBLE, NOT_KNOWN) else ""
        clauses.append(f"{len(found)} {'is' if len(found) == 1 else 'are'} {status}{listed}")
    return f"Of {len(rows)} ways in which a test can flatter, {', '.join(clauses[:-1])} and {clauses[-1]}."
