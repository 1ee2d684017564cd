"""sentiment-tuner: tweets in, a tuned classifier and an honest report out.

Three commands and what is done with their results, four stages, one task::

    commands   prepare  train  evaluate  compare  predict  export  distill  convert  doctor   (app.py, the library)
                  |       |       |                                   |
    stages     dataset/  model/  scoring/                          teacher/           never import each other
                  |       |       |                                   |
    core       task families text artifacts locking trackers errors   standard library only (and ftfy, in mojibake)

The import rule: commands import stages, stages import the core, and nothing points back. Each heavy library has
one home: torch, transformers, peft, bitsandbytes and optuna in ``model/``; pandas and datasets in ``dataset/``;
seaborn, matplotlib and jinja2 in ``scoring/``; openai in ``teacher/``; gradio in ``demo/``, which is a command in a
folder and served by ``app.py``; the argument parser in ``cli.py``. scikit-learn and scipy serve both ``dataset/`` and
``scoring/``. ``tests/test_house.py`` enforces it. What follows: a report renders on a machine without torch, and
``--help`` answers at once, because a command imports its stages inside its function, after the options are known to be
good.

Three folders carry the work from command to command, and nothing else does (``artifacts.py``)::

    data/prepared/NAME   train.json val.json test.json data.html dropped.jsonl ... manifest.json
    data/runs/NAME       config.yaml adapter/ training.jsonl tensorboard/ ... manifest.json; checkpoints/ until then
    reports/NAME         predictions.jsonl metrics.json report.html manifest.json

A finished run is used by ``predict`` for files (``parts.py`` lets it go on after a kill) and by ``library.py`` from
Python; both say of a text what ``predictions.py`` says::

    from pipeline import load_classifier

    load_classifier("data/runs/NAME").predict(["love it"])

``distill`` makes a prepared folder of another: more rows in train, by a teacher model, the other splits as they are.
What other programs take is from ``export``: ``exports/NAME`` (``merged/ adapter/ gguf/ parity.json manifest.json``).
A checkpoint that needs remote code becomes a base model by ``convert``.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.library import TunedClassifier, load_classifier
    from pipeline.predictions import Prediction

__all__ = ["Prediction", "TunedClassifier", "load_classifier"]


def __getattr__(name: str) -> Any:
    # At their first use, so that a command or a stage that needs none of it loads none of it.
    if name in __all__:
        from pipeline import library

        return getattr(library, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
