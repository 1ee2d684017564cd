"""What the adapters are worth: all of them decoded by this project, in fp32, on the test split."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.jobs import serve
from pipeline.artifacts import PreparedDataset, Row
from pipeline.errors import PipelineError
from pipeline.model.adapter import check_adapter
from pipeline.model.base import resolve_base_model
from pipeline.model.decoding import Classifier
from pipeline.model.encoding import Encoder
from pipeline.model.loading import load_tokenizer, load_tuned, place
from pipeline.scoring.comparison import holm, permutation_test
from pipeline.scoring.confusion import Counts, Floats, encode
from pipeline.scoring.intervals import around, bootstrap, group_counts
from pipeline.scoring.metrics import macro_f1, unparsed_rate

_SEED = 0


def decoded(order: Mapping[str, Any]) -> dict[str, Any]:
    """The answers of every adapter and how good they are.

    The order has ``adapters``, folders of each program in the order of the rounds. A program's score is over the
    answers of all its rounds.
    """
    dataset = PreparedDataset.load(order["dataset"])
    base, rows, task = resolve_base_model(order["base_model"]), dataset.rows("test"), dataset.task
    encoder = Encoder(load_tokenizer(base), task, order["max_length"])
    answers: dict[str, list[list[str | None]]] = {}
    losses: dict[str, list[float]] = {}
    shapes = {}
    for name, folders in order["adapters"].items():
        answers[name], losses[name] = [], []
        for folder in map(Path, folders):
            check_adapter(folder)
            shapes[folder] = _shapes(folder)
            classifier = Classifier(load_tuned(base, folder, place("fp32", "cpu")), encoder)
            found = classifier.decode([row.input for row in rows])
            answers[name].append([each.generate for each in found])
            right = [each.log_likelihood(row.output) for each, row in zip(found, rows, strict=True)]
            losses[name].append(-sum(right) / sum(len(encoder.completions[row.output]) for row in rows))
    _check_same(shapes)
    return {
        **judged(rows, answers, task.labels, order["candidate"]),
        "test_losses": losses,
        "answers": answers,
        "ids": [row.id for row in rows],
    }


def judged(
    rows: Sequence[Row], answers: Mapping[str, Sequence[Sequence[str | None]]], labels: Sequence[str], candidate: str
) -> dict[str, Any]:
    """Macro-F1 of each program over the answers of its rounds, and the candidate against each of the others.

    The answers of all rounds to one tweet, and to its near-copies, are drawn and swapped together.
    """
    by_group = {name: _counts(rows, rounds, labels) for name, rounds in answers.items()}
    k = len(labels)
    stacked = np.stack(list(by_group.values()), axis=1)  # (groups, programs, k, k + 1)

    def statistics(sums: Floats) -> dict[str, Floats]:
        return {"macro_f1": macro_f1(sums.reshape(len(sums), len(by_group), k, k + 1))}

    draws = bootstrap(stacked.reshape(len(stacked), -1), statistics, seed=_SEED)["macro_f1"]
    values = {name: float(macro_f1(counts.sum(axis=0))) for name, counts in by_group.items()}
    at = {name: i for i, name in enumerate(by_group)}
    scores = {
        name: {
            "macro_f1": values[name],
            **around(values[name], draws[:, at[name]]).to_json(),
            "unparsed_rate": float(unparsed_rate(counts.sum(axis=0))),
        }
        for name, counts in by_group.items()
    }
    comparisons: list[dict[str, Any]] = []
    for name in by_group if candidate in by_group else ():
        if name != candidate:
            difference = values[candidate] - values[name]
            interval = around(difference, draws[:, at[candidate]] - draws[:, at[name]])
            p_value = permutation_test(by_group[candidate], by_group[name], macro_f1, seed=_SEED)
            comparisons.append({"other": name, "difference": difference, **interval.to_json(), "p_value": p_value})
    adjusted = holm([each["p_value"] for each in comparisons])
    return {
        "n": len(rows),
        "scores": scores,
        "comparisons": [{**each, "p_holm": p} for each, p in zip(comparisons, adjusted, strict=True)],
    }


def _counts(rows: Sequence[Row], rounds: Sequence[Sequence[str | None]], labels: Sequence[str]) -> Counts:
    """Confusion matrices of each group of rows, over all rounds, shape ``(groups, k, k + 1)``."""
    k = len(labels)
    groups = np.unique([row.group for row in rows], return_inverse=True)[1]
    y_true = encode([row.output for row in rows], labels=labels)
    cells = np.stack([y_true * (k + 1) + encode(answers, labels=labels) for answers in rounds], axis=1)
    return group_counts(groups, cells, k * (k + 1)).reshape(-1, k, k + 1)


def _shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    from safetensors import safe_open

    with safe_open(folder / "adapter_model.safetensors", framework="np") as file:
        return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118 - no mapping


def _check_same(shapes: Mapping[Path, Mapping[str, tuple[int, ...]]]) -> None:
    """Programs that train other matrices are not comparable.

    Raises:
        PipelineError: an adapter has other matrices than the first.
    """
    first, *others = shapes
    for other in others:
        if shapes[other] != shapes[first]:
            raise PipelineError(
                f"{other}: expected the {len(shapes[first])} LoRA matrices that {first} has, got {len(shapes[other])} "
                "or other shapes; the programs were not given the same adapter, please report it"
            )


if __name__ == "__main__":
    serve(decoded)
