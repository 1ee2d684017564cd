"""The figures of the section on the training. They show numbers and labels, never a tweet."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from pipeline.scoring.drawing import ACCENT, INK, NARROW, QUIET, SPLIT_COLOURS, bare, canvas, shown, svg

_MISSED = SPLIT_COLOURS[2]
_DASHED = (0, (4, 2))
_WIDE_RANGE = 5  # times the least loss: beyond it a linear axis shows the first steps and nothing else
_MANY = 40  # validations: beyond it dots touch


def training_figures(training: Mapping[str, Any], labels: Sequence[str]) -> dict[str, str]:
    """The figures of what ``training_curves`` found, by name; one that would be empty is missing.

    Args:
        training: from ``training_curves``.
        labels: the classes from top to bottom.
    """
    figures = {"training_score": score_figure(training)}
    if training["loss"] and all(one["loss"] is not None for one in training["validations"]):
        figures["training_loss"] = loss_figure(training)
    if any(one["recall"] for one in training["validations"]):
        figures["training_recall"] = recall_figure(training, labels)
    return figures


def loss_figure(training: Mapping[str, Any]) -> str:
    """Loss in training and on validation by step; logarithmic where the first steps would fill a linear axis."""
    points, validations = training["loss"], training["validations"]
    with canvas((NARROW, 2.9)) as figure:
        axes = figure.add_subplot()
        steps, losses = zip(*points, strict=True)
        axes.plot(steps, losses, color=QUIET, linewidth=1.3, marker="o", markersize=0 if len(points) > 2 else 4)
        at, on_validation = [one["step"] for one in validations], [one["loss"] for one in validations]
        axes.plot(at, on_validation, color=ACCENT, linewidth=2, marker="o", markersize=_dot(validations))
        low, high = min(*losses, *on_validation), max(*losses, *on_validation)
        if low > 0 and high > _WIDE_RANGE * low:
            axes.set_yscale("log")
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 100 * low else (1,)))
            axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}"))
            axes.yaxis.set_minor_formatter(NullFormatter())
            axes.tick_params(axis="y", which="minor", length=0)
            axes.set_ylabel("loss, logarithmic")
        else:
            axes.set_ylim(0, 1.08 * high or 1)
            axes.set_ylabel("loss")
        _frame(axes, training)
        figure.legend(
            axes.get_lines()[:2],
            ["training", "validation"],
            loc="outside upper left",
            ncols=2,
            frameon=False,
            handlelength=1.4,
        )
        return svg(figure, "trainingloss", "Loss in training and on validation by optimizer step")


def score_figure(training: Mapping[str, Any]) -> str:
    """Macro-F1 on validation by step, with the kept step marked, over the band of what luck does not tell from it."""
    validations, kept = training["validations"], training["kept"]
    with canvas((NARROW, 2.9)) as figure:
        axes = figure.add_subplot()
        best = kept["macro_f1"]
        axes.axhspan(max(0, best - training["noise"]), best, color=QUIET, alpha=0.28, linewidth=0)
        at, scores = [one["step"] for one in validations], [one["macro_f1"] for one in validations]
        axes.plot(at, scores, color=ACCENT, linewidth=2, marker="o", markersize=_dot(validations))
        axes.plot([kept["step"]], [best], "D", color=INK, markersize=7, zorder=4)
        _frame(axes, training)
        # Above the dot there is room but for the best scores; the words stay inside at either end of the axis.
        below, share = best > 0.85, kept["step"] / training["steps"]
        axes.annotate(
            f"kept: {best:.3f}",
            (kept["step"], best),
            (0, -12 if below else 10),
            textcoords="offset points",
            ha="right" if share > 0.85 else "left" if share < 0.15 else "center",
            va="top" if below else "bottom",
        )
        axes.set(ylim=(0, 1.02), yticks=[0, 0.25, 0.5, 0.75, 1], ylabel="macro-F1 on validation")
        return svg(figure, "trainingscore", "Macro-F1 on validation by optimizer step, with the kept step marked")


def recall_figure(training: Mapping[str, Any], labels: Sequence[str]) -> str:
    """Recall of each class on validation by step, one strip a class from 0 to 1, with its value at the kept step."""
    validations, kept = training["validations"], training["kept"]
    height = 0.6 if len(labels) <= 6 else 0.4
    with canvas((NARROW, 0.6 + height * len(labels))) as figure:
        axes = figure.add_subplot()
        for strip, label in enumerate(labels):
            foot, scale = strip + 0.86, 0.72
            axes.plot([0, training["steps"]], [foot, foot], color=QUIET, linewidth=0.8)
            axes.plot([0, training["steps"]], [foot - scale] * 2, color=QUIET, linewidth=0.8, alpha=0.35)
            known = [(one["step"], one["recall"][label]) for one in validations if label in (one["recall"] or {})]
            colour = _MISSED if label in training["never_found"] else ACCENT
            if known:
                axes.plot(
                    [step for step, _ in known],
                    [foot - scale * recall for _, recall in known],
                    color=colour,
                    linewidth=1.8,
                    marker="o",
                    markersize=min(4, _dot(validations)),
                    clip_on=False,
                )
            at_kept = (kept["recall"] or {}).get(label)
            axes.annotate(
                f"{at_kept:.2f}" if at_kept is not None else "no tweets" if not known else "–",
                (training["steps"], foot - scale / 2),
                (8, 0),
                textcoords="offset points",
                va="center",
                fontsize=10,
            )
        axes.axvline(kept["step"], color=INK, linewidth=0.9, linestyle=_DASHED, zorder=1)
        _frame(axes, training)
        axes.grid(visible=False)
        axes.set_yticks(np.arange(len(labels)) + 0.5, [shown(label) for label in labels])
        axes.set_ylim(len(labels), 0)
        return svg(figure, "trainingrecall", "Recall of each class on validation by optimizer step")


def _frame(axes: Axes, training: Mapping[str, Any]) -> None:
    """What the three have in common: the axis of the steps, and a quiet grid."""
    axes.set_xlim(-0.02 * training["steps"], 1.02 * training["steps"])
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}"))
    axes.set_xlabel("optimizer step", loc="left")
    axes.grid(axis="y", color=QUIET, alpha=0.3, linewidth=0.8)
    axes.set_axisbelow(True)
    bare(axes)


def _dot(validations: Sequence[object]) -> int:
    return 5 if len(validations) <= _MANY else 0
