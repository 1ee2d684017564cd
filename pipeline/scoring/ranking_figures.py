"""The figure of the section on ranking. It shows labels and rates, never the text of a tweet."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes

from pipeline.scoring.drawing import ACCENT, INK, QUIET, SPLIT_COLOURS, bare, canvas, shown, svg

_COLUMNS = 3
_DASHED = (0, (4, 3))
_STYLES = ("-", "-", "-.", ":")
_COLOURS = (ACCENT, SPLIT_COLOURS[2], QUIET, SPLIT_COLOURS[1])


def precision_recall_figure(ranking: Mapping[str, Any], labels: Sequence[str], names: Mapping[str, str]) -> str:
    """Precision against recall, one panel a class, with the class's share of the rows as a dashed line.

    Args:
        ranking: what ``ranking`` made.
        labels: the classes in their order.
        names: system -> what it is called; the first is drawn in the accent colour.
    """
    columns = 2 if len(labels) in (2, 4) else min(_COLUMNS, len(labels))
    rows = math.ceil(len(labels) / columns)
    with canvas((2.9 * columns, 2.7 * rows + 0.5)) as figure:
        panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
        for i, axes in enumerate(panels.flat):
            if i >= len(labels):
                axes.set_visible(False)
                continue
            label = labels[i]
            curves = {name: ranking["systems"][name]["classes"][label]["curve"] for name in names}
            _panel(axes, curves, ranking["prevalence"][label])
            axes.set_title(shown(label))
            # The last panel of each column carries the axis, also where the row below it is not full.
            axes.set_xlabel("recall" if i + columns >= len(labels) else "")
            axes.set_ylabel("precision" if i % columns == 0 else "")
            axes.tick_params(labelbottom=i + columns >= len(labels))
        figure.legend(
            panels.flat[0].get_lines(),
            [*(shown(name) for name in names.values()), "guessing: the class's share"],
            loc="outside upper left",
            ncols=3,
            frameon=False,
            handlelength=1.6,
            columnspacing=1.4,
        )
        return svg(figure, "ranking", "Precision against recall for each class, one panel a class")


def _panel(axes: Axes, curves: Mapping[str, Sequence[Sequence[float]]], prevalence: float) -> None:
    for i, curve in enumerate(curves.values()):
        # A step to the left, so that the area under the line is the average precision.
        points = [(0.0, precision) for _, precision in curve[:1]] + [(x, y) for x, y in curve]
        axes.step(
            [x for x, _ in points],
            [y for _, y in points],
            where="pre",
            color=_COLOURS[i % len(_COLOURS)],
            linestyle=_STYLES[i % len(_STYLES)],
            linewidth=1.3 if i else 2,
            zorder=2 if i else 3,
        )
    axes.axhline(prevalence, color=INK, linestyle=_DASHED, linewidth=0.8)
    if not any(curves.values()):
        axes.text(0.5, 0.5, "no rows", ha="center", va="center")
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.04), xticks=[0, 0.5, 1], yticks=[0, 0.5, 1])
    axes.grid(color=QUIET, alpha=0.25, linewidth=0.7)
    bare(axes)
