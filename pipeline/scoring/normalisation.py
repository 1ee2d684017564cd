"""How much the likelihood reading depends on a convention: what a label's likelihood is divided by, or held against.

The reading of this project is the plain sum of a label's log-probabilities, terminator included. Other tools divide by
length or subtract what the model would say anyway; where these disagree, the reading says little.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pipeline.scoring.confusion import Counts, Floats
from pipeline.scoring.parts import Answers, accuracy, macro_f1, share
from pipeline.scoring.sample import Sample
from pipeline.scoring.temperature import tempered
from pipeline.scoring.verdict import name_of, percent_text

METHODS = ("sum", "per_token", "per_byte", "pmi", "contextual")


def normalisation(sample: Sample, likelihoods: Mapping[str, Any], *, seed: int) -> dict[str, Any]:
    """What stands under ``normalisation`` in ``metrics.json``: the likelihood reading by five conventions.

    ``sum`` is the reading itself. ``per_token`` and ``per_byte`` divide a label's log-likelihood by its length.
    ``pmi`` subtracts the label's log-likelihood after the prompt without a tweet (Holtzman et al. 2021, arXiv
    2104.08315). ``contextual`` divides its probability by the mean of those after inputs without content (Zhao et al.
    2021, arXiv 2102.09690).

    Args:
        sample: the test rows.
        likelihoods: ``tokens`` (label -> number, terminator included) and ``content_free`` (model -> label -> natural
            logarithm, a mapping for each input without content, the empty one first).
        seed: of the resampling.

    Returns:
        Model -> ``methods`` (each with ``accuracy``, ``macro_f1`` and ``flips``, the share of rows whose answer is
        another than by ``sum``) and ``sentence``, for the models whose ``content_free`` is known.
    """
    found = {}
    for model, given in likelihoods["content_free"].items():
        if model not in sample.log_likelihoods:
            continue
        answers = readings(sample.log_likelihoods[model], sample.labels, likelihoods["tokens"], given)
        plain = answers["sum"]
        methods = {
            name: _scores(Answers(sample.y_true, chosen, sample.groups, len(sample.labels)), chosen != plain, seed)
            for name, chosen in answers.items()
        }
        found[model] = {"methods": methods, "sentence": _sentence(methods, name_of(model))}
    return found


def readings(
    log_likelihoods: Floats,
    labels: Sequence[str],
    tokens: Mapping[str, int],
    content_free: Sequence[Mapping[str, float]],
) -> dict[str, Counts]:
    """Method -> answered class of each row ``(n,)`` of ``log_likelihoods`` ``(n, k)``; the first where two tie."""
    free = np.array([[row[label] for label in labels] for row in content_free])  # (inputs, k), the empty one first
    scores = {
        "sum": log_likelihoods,
        "per_token": log_likelihoods / np.array([tokens[label] for label in labels]),
        "per_byte": log_likelihoods / np.array([len(label.encode()) for label in labels]),
        "pmi": log_likelihoods - free[0],
        "contextual": log_likelihoods - np.log(tempered(free).mean(axis=0)),
    }
    return {name: scores[name].argmax(axis=1) for name in METHODS}


def _scores(answers: Answers, flipped: Any, seed: int) -> dict[str, Any]:
    return {
        "accuracy": accuracy(answers, seed=seed),
        "macro_f1": macro_f1(answers, seed=seed),
        "flips": share(flipped, answers.groups, seed=seed),
    }


def _sentence(methods: Mapping[str, Any], model: str) -> str:
    most = max(METHODS[1:], key=lambda name: methods[name]["flips"]["value"])
    flips = methods[most]["flips"]["value"]
    if flips == 0:
        return f"However likelihoods are normalised, {model} gives the same answers."
    names = {
        "per_token": "per token",
        "per_byte": "per byte",
        "pmi": "as PMI",
        "contextual": "by contextual calibration",
    }
    return (
        f"Normalising the likelihoods {names[most]} instead of summing them changes {percent_text(flips)} of the "
        f"answers of {model}; no other convention changes more."
    )
