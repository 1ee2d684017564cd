"""sentiment-tuner: tweets in, a tuned classifier and an honest report out.

Three commands, three stages, one task::

    commands   prepare  train  evaluate  doctor     (and app.py)
                  |       |       |
    stages     dataset/  model/  scoring/           never import each other
                  |       |       |
    core       task  text  artifacts  locking  errors   standard library only (and ftfy, in mojibake)

The import rule: commands import stages, stages import the core, and nothing points back. Each heavy library has
one home: torch, transformers, peft, bitsandbytes and optuna in ``model/``; pandas and datasets in ``dataset/``;
seaborn, matplotlib and jinja2 in ``scoring/``; gradio in ``app.py``; the argument parser in ``cli.py``. scikit-learn
and scipy serve both ``dataset/`` and ``scoring/``. ``tests/test_house.py`` enforces it. What follows: a report renders
on a machine without torch, and ``--help`` answers at once, because a command imports its stages inside its
function, after the options are known to be good.

Three folders carry the work from command to command, and nothing else does (``artifacts.py``)::

    data/prepared/NAME   train.json val.json test.json data.html dropped.jsonl ... manifest.json
    data/runs/NAME       config.yaml adapter/ training.jsonl tensorboard/ ... manifest.json; checkpoints/ until then
    reports/NAME         predictions.jsonl metrics.json report.html manifest.json
"""
