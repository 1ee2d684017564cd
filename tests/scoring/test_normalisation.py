"""The five conventions against plain arithmetic, and a table worked by hand."""

import json
import math

import numpy as np
import pytest
from synthetic_predictions import LABELS, make_predictions

from pipeline.scoring.evaluation import score
from pipeline.scoring.normalisation import METHODS, readings
from pipeline.scoring.page import environment
from pipeline.scoring.sections import Evidence

EVEN = [dict.fromkeys(LABELS, math.log(0.2))]


def test_every_convention_can_change_the_answer() -> None:
    # Labels of 1, 2 and 4 tokens and of 2, 9 and 4 bytes.
    labels, tokens = ("no", "seldom ok", "yeah"), {"no": 1, "seldom ok": 2, "yeah": 4}
    rows = np.array([[-2.0, -3.0, -5.0]])
    free = [{"no": -1.0, "seldom ok": -3.0, "yeah": -3.5}]
    found = {name: labels[int(chosen[0])] for name, chosen in readings(rows, labels, tokens, free).items()}
    # sum: -2, -3, -5; per token: -2, -1.5, -1.25; per byte: -1, -1/3, -5/4; PMI: -1, 0, -1.5
    assert found == {"sum": "no", "per_token": "yeah", "per_byte": "seldom ok", "pmi": "seldom ok",
                     "contextual": "seldom ok"}  # fmt: skip


def test_contextual_calibration_is_that_of_the_paper() -> None:
    rng = np.random.default_rng(0)
    rows = np.log(rng.dirichlet(np.ones(3), size=200)) - 1
    free = [dict(zip(LABELS, np.log(rng.dirichlet(np.ones(3))) - 2, strict=True)) for _ in range(3)]
    found = readings(rows, LABELS, dict.fromkeys(LABELS, 1), free)["contextual"]
    shares = [[math.exp(row[label]) for label in LABELS] for row in free]
    mean = np.mean([np.array(share) / sum(share) for share in shares], axis=0)
    weighted = np.diag(1 / mean) @ (np.exp(rows) / np.exp(rows).sum(axis=1, keepdims=True)).T
    assert (found == weighted.argmax(axis=0)).all()
    # One input without content: then it is PMI.
    one = readings(rows, LABELS, dict.fromkeys(LABELS, 1), free[:1])
    assert (one["contextual"] == one["pmi"]).all()


def evaluated(content_free: list[dict[str, float]]) -> dict[str, object]:
    likelihoods = {"tokens": dict.fromkeys(LABELS, 2), "content_free": {"tuned": content_free}}
    metrics = score(make_predictions(120), labels=LABELS, evidence=Evidence(likelihoods=likelihoods))
    assert json.loads(json.dumps(metrics, allow_nan=False)) == metrics
    return metrics


def test_what_changes_nothing_is_said_to_change_nothing() -> None:
    found = evaluated(EVEN)["normalisation"]["tuned"]  # type: ignore[index]
    for method in ("sum", "per_token", "pmi", "contextual"):
        assert found["methods"][method]["flips"]["value"] == 0
    plain = evaluated(EVEN)["systems"]["tuned"]["readings"]["loglikelihood"]  # type: ignore[index]
    for metric in ("accuracy", "macro_f1"):
        assert found["methods"]["sum"][metric]["value"] == pytest.approx(plain[metric]["value"])


def test_the_convention_that_matters_most_is_named() -> None:
    lopsided = [{LABELS[0]: math.log(0.001), LABELS[1]: math.log(0.2), LABELS[2]: math.log(0.7)}]
    metrics = evaluated(lopsided)
    found = metrics["normalisation"]["tuned"]  # type: ignore[index]
    most = max(METHODS, key=lambda name: found["methods"][name]["flips"]["value"])
    assert most in ("pmi", "contextual")
    assert {"pmi": "as PMI", "contextual": "by contextual calibration"}[most] in found["sentence"]
    env = environment()
    page = env.get_template("report_normalisation.html").render(metrics=metrics)
    assert f'<data value="{found["methods"][most]["flips"]["value"]}">' in page
    assert "the tuned model" in page
    assert env.get_template("report_normalisation.html").render(metrics={}).strip() == ""
