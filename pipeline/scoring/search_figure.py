"""The figure of a search: what every trial scored against each setting that was searched."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipeline.scoring.drawing import INK, NARROW, QUIET, SPLIT_COLOURS, bare, canvas, shown, svg

_RATE = "learning_rate"
_TARGETS = "lora.target_modules"
# What follows from another option is no panel of its own.
_FOLLOWS = ("lora.alpha",)
_NAMES = {
    _RATE: "learning rate",
    "lora.r": "rank of LoRA",
    _TARGETS: "layers with LoRA",
    "class_weights": "class weights",
    "b_learning_rate": "B learns faster, times",
}
_SIDE_BY_SIDE = 0.09
_GIVEN: Mapping[str, Any] = {"s": 190, "facecolor": "none", "edgecolor": INK, "linestyle": ":"}
_CHOSEN: Mapping[str, Any] = {"s": 130, "facecolor": "none", "edgecolor": INK, "linestyle": "-"}
# With more trials than that their numbers would hide each other.
_NUMBERED = 25


def search_figure(trials: Sequence[Mapping[str, Any]], chosen: int, metric: str) -> str:
    """Score of every trial: a wide panel against its learning rate, and below one for each other option.

    A trial has the same colour, which is that of its layers with LoRA, and the same mark in all panels: a dot, smaller
    where it was pruned, a cross at the foot where it has no score. The first trial, the settings as given, has a dashed
    ring, the chosen one a full one.

    Args:
        trials: the lines of ``search.jsonl``.
        chosen: number of the trial whose settings were taken.
        metric: what the scores are.
    """
    levers = [name for name in trials[0]["settings"] if name not in (_RATE, *_FOLLOWS)]
    rows = (len(levers) + 1) // 2
    caption = metric.replace("_", "-").replace("f1", "F1")
    colours = {
        text: SPLIT_COLOURS[i % len(SPLIT_COLOURS)]
        for i, text in enumerate(_choices([_text(trial["settings"][_TARGETS]) for trial in trials]))
    }
    lowest, highest = _reach([trial["score"] for trial in trials if "score" in trial])
    with canvas((1.5 * NARROW, 3.3 + 1.9 * rows)) as figure:
        grid = figure.add_gridspec(rows + 1, 2, height_ratios=[1.5] + [1.0] * rows)
        wide = figure.add_subplot(grid[0, :])
        panels = [figure.add_subplot(grid[1 + i // 2, i % 2], sharey=wide) for i in range(len(levers))]
        for axes, name in zip([wide, *panels], [_RATE, *levers], strict=True):
            places = _places(axes, [trial["settings"][name] for trial in trials], name)
            for trial, x in zip(trials, places, strict=True):
                _mark(axes, x, trial, colours[_text(trial["settings"][_TARGETS])], chosen, lowest)
            axes.set_title(_NAMES.get(name, name), fontsize=11)
            axes.grid(axis="y", color=QUIET, alpha=0.3, linewidth=0.8)
            axes.set_axisbelow(True)
            axes.yaxis.set_major_locator(mpl.ticker.MaxNLocator(4))
            axes.set_ylabel(caption if axes is wide or axes in panels[::2] else "")
            axes.tick_params(labelleft=axes is wide or axes in panels[::2])
            bare(axes)
        wide.set_ylim(lowest, highest)
        for trial in trials:
            if len(trials) <= _NUMBERED or trial["trial"] in (1, chosen):
                at = (trial["settings"][_RATE], trial.get("score", lowest))
                wide.annotate(str(trial["trial"]), at, (0, 9), textcoords="offset points", ha="center", fontsize=9)
        _legend(figure, wide, trials, colours)
        return svg(figure, "search", f"{caption} of {len(trials)} trials against each setting that was searched")


def _mark(axes: Axes, x: float, trial: Mapping[str, Any], colour: str, chosen: int, foot: float) -> None:
    y = trial.get("score", foot)
    pruned = trial["state"] == "pruned"
    if trial["state"] == "failed":
        axes.plot([x], [y], "x", color=colour, markersize=7, clip_on=False)
    else:
        axes.plot([x], [y], "o", color=colour, markersize=4 if pruned else 8, clip_on=False)
    for number, ring in ((1, _GIVEN), (chosen, _CHOSEN)):
        if trial["trial"] == number:
            axes.scatter([x], [y], **ring)


def _places(axes: Axes, values: Sequence[Any], name: str) -> list[float]:
    """Where each trial stands on the axis of an option; those with the same value stand side by side."""
    if name == _RATE:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(mpl.ticker.LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(lambda rate, _: f"{rate:.0e}".replace("e-0", "e-"))
        axes.xaxis.set_minor_locator(mpl.ticker.NullLocator())
        return [float(value) for value in values]
    texts = [_text(value) for value in values]
    choices = _choices(values)
    axes.set_xticks(range(len(choices)), [shown(choice) for choice in choices])
    axes.set_xlim(-0.5, len(choices) - 0.5)
    places = []
    for i, text in enumerate(texts):
        before, all_ = texts[:i].count(text), texts.count(text)
        step = min(_SIDE_BY_SIDE, 0.7 / all_)
        places.append(choices.index(text) + step * (before - (all_ - 1) / 2))
    return places


def _choices(values: Sequence[Any]) -> list[str]:
    """The distinct values as texts, in their order: numbers by size, texts as the trials have them."""
    numbers = all(isinstance(value, int | float) for value in values)
    return list(dict.fromkeys(map(_text, sorted(values) if numbers else values)))


def _text(value: Any) -> str:
    """A setting as it stands below an axis: q_proj and v_proj as ``q v``."""
    if isinstance(value, list):
        return " ".join(name.removesuffix("_proj") for name in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _reach(scores: Sequence[float]) -> tuple[float, float]:
    """Lower and upper end of the axis of scores: what was reached, and some room."""
    low, high = min(scores, default=0.0), max(scores, default=1.0)
    room = max(0.02, 0.14 * (high - low))
    return low - room, high + room


def _legend(figure: Figure, axes: Axes, trials: Sequence[Mapping[str, Any]], colours: Mapping[str, str]) -> None:
    entries = [(axes.scatter([], [], s=64, color=colour), shown(text)) for text, colour in colours.items()]
    states = {trial["state"] for trial in trials}
    if "pruned" in states:
        entries.append((axes.scatter([], [], s=16, color=QUIET), "pruned"))
    if "failed" in states:
        entries.append((axes.scatter([], [], s=49, marker="x", color=QUIET), "failed"))
    entries += [(axes.scatter([], [], **_CHOSEN), "chosen"), (axes.scatter([], [], **_GIVEN), "as given")]
    handles, texts = zip(*entries, strict=True)
    figure.legend(handles, texts, loc="outside upper left", ncols=4, frameon=False, handlelength=1, columnspacing=1.2)
