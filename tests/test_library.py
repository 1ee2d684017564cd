"""A run as a Python object: what it answers to texts, in scikit-learn's tools, and how answers are read."""

import runpy
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pandas
import pytest
from predicting import LABELS, TWEETS

import app
from pipeline import evaluate, library, train
from pipeline.errors import PipelineError
from pipeline.predictions import Reading

if TYPE_CHECKING:
    from pipeline.model.decoding import Decoded

ROOT = Path(__file__).resolve().parents[1]


def test_cut_and_unparsed_answers_say_so() -> None:
    from pipeline.model.decoding import Decoded

    decoded = Decoded("I'd say up", None, (-2.0, -2.0, -0.8), LABELS, True)
    assert Reading().read(decoded).label is None
    assert Reading().read(decoded).reason == (
        'unparsed: the model wrote "I\'d say up"; shortened: only its beginning was read'
    )
    assert sum(Reading().read(decoded).probabilities.values()) == pytest.approx(1)
    assert Reading().read(decoded).abstained is None
    assert Reading(threshold=0.5).read(decoded).abstained is True
    likely = Reading("loglikelihood", threshold=0.65).read(decoded)
    assert (likely.label, likely.abstained) == ("Positive", True)
    assert likely.confidence == pytest.approx(0.6240, abs=1e-4)
    assert Reading("loglikelihood", threshold=0.6).read(decoded).abstained is False
    offsets = {"Negative": 3.0, "Neutral": 0.0, "Positive": 0.0}
    moved = Reading("loglikelihood", offsets, threshold=0.9).read(decoded)
    assert (moved.label, moved.abstained) == ("Negative", None)
    assert moved.confidence == moved.probabilities["Negative"]


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ("love it", "got one text"),
        (b"love it", "got one text"),
        ({"text": ["love it"]}, "got a table"),
        (pandas.DataFrame({"text": ["love it"]}), "got a table; give the column"),
    ],
)
def test_what_is_no_list_of_texts_is_refused(one_model: library.TunedClassifier, texts: object, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        one_model.predict(texts)  # type: ignore[arg-type]


def test_texts_may_come_from_anywhere(one_model: library.TunedClassifier) -> None:
    expected = one_model.predict(["love it", None])
    assert one_model.predict(text for text in ("love it", None)) == expected
    assert one_model.predict(pandas.Series(["love it", float("nan")])) == expected
    assert expected[1].reason == "empty: there is no text"
    assert repr(one_model).startswith("TunedClassifier('")


def test_options_that_do_not_exist_are_refused(easy_run: Path, one_model: library.TunedClassifier) -> None:
    with pytest.raises(PipelineError, match=r"precision: expected one of auto, bf16, .*; got 'bf'"):
        library.load_classifier(easy_run, precision="bf")  # type: ignore[arg-type]
    with pytest.raises(PipelineError, match="device: expected one of auto, cpu, cuda; got 'tpu'"):
        library.load_classifier(easy_run, device="tpu")  # type: ignore[arg-type]
    for call in (one_model.as_estimator, lambda **options: one_model.predict(["a"], **options)):
        with pytest.raises(PipelineError, match="decoding: expected one of generate, loglikelihood; got 'x'"):
            call(decoding="x")  # type: ignore[arg-type]


def test_a_gpu_that_is_not_there_is_refused_before_the_other_libraries_load(
    easy_run: Path, prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    for name in ("loading", "classifier", "checkpoints", "encoding"):
        monkeypatch.setitem(sys.modules, f"pipeline.model.{name}", None)  # to import it is an error
    said = "--device cuda: this PyTorch sees no CUDA GPU; use --device cpu, or see pipeline.doctor"
    with pytest.raises(PipelineError, match=said):
        library.load_classifier(easy_run, device="cuda")
    commands = {
        train.main: ["--dataset", prepared, "--out", tmp_path / "run"],
        evaluate.main: ["--run", easy_run, "--out", tmp_path / "report"],
        app.main: ["--run", easy_run, "--port", 0],
    }
    for main, options in commands.items():
        with pytest.raises(SystemExit):
            main([*map(str, options), "--device", "cuda"])
        assert said in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_copies_are_decoded_once(
    easy_run: Path, one_model: library.TunedClassifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    decode = one_model._classifier.decode

    def noted(texts: Sequence[str]) -> "list[Decoded]":
        asked.extend(texts)
        return decode(texts)

    monkeypatch.setattr(one_model._classifier, "decode", noted)
    found = one_model.predict(["love it", "hate it", "love it", None, ""])
    assert asked == ["love it", "hate it"]
    assert found[0] == found[2] != found[1]
    assert found[3].label is None


def test_the_library_answers_as_the_command_does(loaded: library.TunedClassifier) -> None:
    import pipeline

    assert pipeline.load_classifier is library.load_classifier
    answers = loaded.predict(["love it a", "", None])
    assert [each.label for each in answers[1:]] == [None, None]
    assert answers[0].label in LABELS
    assert answers[0].confidence == answers[0].probabilities[answers[0].label]
    with pytest.raises(TypeError, match="expected a list of texts"):
        loaded.predict("love it")
    with pytest.raises(AttributeError):
        _ = pipeline.nothing
    with pytest.raises(PipelineError, match="decoding loglikelihood"):
        loaded.predict(["a"], adjusted=True)


def test_the_estimator_works_in_scikit_learns_tools(loaded: library.TunedClassifier) -> None:
    import numpy as np
    from sklearn.base import clone
    from sklearn.metrics import classification_report
    from sklearn.model_selection import cross_val_predict, cross_val_score

    estimator = loaded.as_estimator(decoding="loglikelihood")
    texts, labels = np.array(TWEETS), np.array([LABELS[i % 3] for i in range(30)])
    assert clone(estimator).classifier is loaded
    assert clone(estimator).get_params()["decoding"] == "loglikelihood"
    expected = [each.label for each in loaded.predict(TWEETS, decoding="loglikelihood")]
    assert cross_val_predict(estimator, texts, labels, cv=3).tolist() == expected
    shares = cross_val_predict(estimator, texts, labels, cv=3, method="predict_proba")
    assert shares.shape == (30, 3)
    assert shares.sum(axis=1) == pytest.approx(1)
    assert [estimator.classes_[i] for i in shares.argmax(axis=1)] == expected
    assert cross_val_score(estimator, texts, labels, cv=3).mean() > 0.4
    report = classification_report(labels, estimator.predict(texts), output_dict=True, zero_division=0)
    assert report["accuracy"] == np.mean(np.array(expected) == labels)
    assert estimator.predict(["", "love it"])[0] == "unparsed"
    assert np.isnan(estimator.predict_proba(["", "love it"])[0]).all()


def test_the_example_in_the_docs_runs(easy_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = (ROOT / "docs" / "predicting.md").read_text(encoding="utf-8")
    (code,) = [part.split("```")[0] for part in page.split("```python\n")[1:]]
    (tmp_path / "example.py").write_text(code.replace("data/runs/mine", str(easy_run)))
    runpy.run_path(str(tmp_path / "example.py"))
    assert "precision" in capsys.readouterr().out
