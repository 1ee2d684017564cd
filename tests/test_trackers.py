"""Trackers are refused before anything is loaded; what transformers knows is the oracle."""

import importlib.util

import pytest

from pipeline.errors import PipelineError
from pipeline.trackers import TRACKERS, check_trackers


def test_the_trackers_are_those_of_transformers() -> None:
    from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK

    assert set(TRACKERS) == set(INTEGRATION_TO_CALLBACK)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # of one that was not made
@pytest.mark.parametrize("name", TRACKERS)
def test_a_tracker_is_let_through_where_its_callback_can_be_made(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK

    monkeypatch.delenv("KUBEFLOW_TRAINER_SERVER_URL", raising=False)
    try:
        INTEGRATION_TO_CALLBACK[name]()
    except (RuntimeError, ImportError, ValueError):
        with pytest.raises(PipelineError, match=rf"--report_to {name}: expected .*; .*leave {name} out$"):
            check_trackers([name])
    else:
        check_trackers([name])


def test_the_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "wandb" else object())
    with pytest.raises(PipelineError, match=r"expected the package wandb, which is not installed; pip install wandb,"):
        check_trackers(["mlflow", "wandb"])
    check_trackers(["mlflow"])


@pytest.mark.parametrize("names", [["all"], ["none"], []])
def test_all_and_none_stand_alone(names: list[str]) -> None:
    check_trackers(names)
    with pytest.raises(PipelineError, match=r"--report_to: expected some of azure_ml, .*, wandb, got '"):
        check_trackers([*names, "tensorbored"])
