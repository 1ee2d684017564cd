"""The trackers that ``--report_to`` takes, and what each needs: told without loading transformers, which knows them."""

import importlib.util
import os
from collections.abc import Sequence

from pipeline.errors import PipelineError, did_you_mean

# What transformers calls it -> the modules that its callback imports, each with the package to install for it.
TRACKERS = {
    "azure_ml": {"azureml.core.run": "azureml-sdk"},
    "clearml": {"clearml": "clearml"},
    "codecarbon": {"codecarbon": "codecarbon"},
    "comet_ml": {"comet_ml": "comet-ml"},
    "dagshub": {"dagshub": "dagshub", "mlflow": "mlflow"},
    "dvclive": {"dvclive": "dvclive"},
    "flyte": {"flytekit": "flytekit"},
    "kubeflow": {},
    "mlflow": {"mlflow": "mlflow"},
    "neptune": {"neptune": "neptune"},
    "swanlab": {"swanlab": "swanlab"},
    "tensorboard": {"tensorboard": "tensorboard"},
    "trackio": {"trackio": "trackio"},
    "wandb": {"wandb": "wandb"},
}
# Stand alone: every tracker that is installed, and no more than what is always written.
_ALONE = ("all", "none")
# Without it transformers has nowhere to send to.
_KUBEFLOW = "KUBEFLOW_TRAINER_SERVER_URL"


def check_trackers(names: Sequence[str]) -> None:
    """Makes sure that a training can report to these trackers.

    Raises:
        PipelineError: a name is not known, or what it needs is not there.
    """
    for name in names:
        if name in _ALONE and len(names) == 1:
            continue
        if name not in TRACKERS:
            raise PipelineError(
                f"--report_to: expected some of {', '.join(TRACKERS)}, got {name!r}{did_you_mean(name, TRACKERS)}"
            )
        missing = [package for module, package in TRACKERS[name].items() if not _is_there(module)]
        if missing:
            raise PipelineError(
                f"--report_to {name}: expected the package {' and '.join(missing)}, which is not installed; "
                f"pip install {' '.join(missing)}, or leave {name} out"
            )
        if name == "kubeflow" and not os.environ.get(_KUBEFLOW):
            raise PipelineError(
                f"--report_to kubeflow: expected {_KUBEFLOW} in the environment, as a Kubeflow TrainJob sets it, got "
                "none; leave kubeflow out"
            )


def _is_there(module: str) -> bool:
    """Whether a module could be imported; of a package within one, its parents are."""
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False
