"""Where a system fails: which tweets, near or far from the training tweets, with doubtful labels, beside people."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from pipeline.scoring.confusion import Floats
from pipeline.scoring.parts import PART_RESAMPLES, Answers
from pipeline.scoring.sample import Sample
from pipeline.scoring.segments import judge, segments_of
from pipeline.scoring.sensitivity import beside_people, without_suspects
from pipeline.scoring.similarity import by_similarity

_COMPARED_WITH = "tfidf"


def weaknesses(
    predictions: Sequence[Mapping[str, Any]],
    sample: Sample,
    scores: Mapping[str, Any],
    *,
    similarity: Floats | None = None,
    suspects: Collection[str] | None = None,
    raters: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """What stands under ``weak`` in ``metrics.json``, for the candidate's headline reading.

    Args:
        predictions: the rows of ``predictions.jsonl``.
        sample: the same rows as arrays, in the same order.
        scores: the candidate's, under ``systems`` in ``metrics.json``.
        similarity: of each row to its nearest training text, as ``nearest_in_train`` gives it, shape ``(n,)``.
        suspects: ids of the rows whose label the prepared data set doubts.
        raters: ``labels.raters`` of the prepared data set's manifest.
        seed: of the resampling.

    Returns:
        ``segments``, and ``similarity``, ``sensitivity`` and ``people``, each None where nothing is known of it.
    """
    name = sample.candidate
    answers = _answers(sample, name)
    result: dict[str, Any] = {
        "system": name,
        "resamples": PART_RESAMPLES,
        "segments": judge(segments_of(predictions, answers, sample.labels), answers, system=name, seed=seed),
        "similarity": None,
        "sensitivity": None,
        "people": beside_people(raters, scores, system=name),
    }
    if similarity is not None:
        compared = [name, *({_COMPARED_WITH} & set(sample.systems) - {name})]
        systems = {system: _answers(sample, system) for system in compared}
        result["similarity"] = by_similarity(np.asarray(similarity, dtype=np.float64), systems, seed=seed)
    if suspects is not None:
        ids = [str(row["id"]) for row in predictions]
        result["sensitivity"] = without_suspects(ids, suspects, answers, scores, system=name, seed=seed)
    return result


def _answers(sample: Sample, system: str) -> Answers:
    return Answers(sample.y_true, sample.readings[sample.headline(system)], sample.groups, len(sample.labels))
