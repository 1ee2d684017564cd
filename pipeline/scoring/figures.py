"""The figures of the report. They show counts and labels, never the text of a tweet."""

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
import seaborn as sns
from matplotlib.colors import LinearSegmentedColormap
from numpy.typing import ArrayLike

from pipeline.scoring.confusion import Counts, Floats, precision_view, recall_view
from pipeline.scoring.drawing import ACCENT, INK, NARROW, QUIET, SPLIT_COLOURS, bare, canvas, shown, svg

_HEAT = LinearSegmentedColormap.from_list("heat", [(*mpl.colors.to_rgb(ACCENT), a) for a in (0.02, 0.62)])


def class_distribution(counts: Mapping[str, Mapping[str, int]], labels: Sequence[str]) -> str:
    """Rows of each class in each split, as grouped bars with their numbers.

    Args:
        counts: split -> label -> number of rows; a missing label counts 0.
        labels: the classes from top to bottom.
    """
    counts = {shown(split): row for split, row in counts.items()}
    splits = list(counts)
    colours = [SPLIT_COLOURS[i % len(SPLIT_COLOURS)] for i in range(len(splits))]
    height = 0.9 + len(labels) * (0.18 + 0.24 * len(splits))
    with canvas((NARROW, height)) as figure:
        axes = figure.add_subplot()
        # Positions stand for the labels until they are drawn: two long labels may look alike once cut.
        bars = [(str(i), split, counts[split].get(label, 0)) for split in splits for i, label in enumerate(labels)]
        sns.barplot(
            {"label": [b[0] for b in bars], "split": [b[1] for b in bars], "rows": [b[2] for b in bars]},
            x="rows",
            y="label",
            hue="split",
            order=[str(i) for i in range(len(labels))],
            hue_order=splits,
            palette=colours,
            saturation=1,
            width=0.78,
            errorbar=None,
            ax=axes,
        )
        for container in axes.containers:
            axes.bar_label(container, fmt="{:,.0f}", padding=4, fontsize=10)  # type: ignore[arg-type]
        bare(axes)
        axes.set(xlabel="", ylabel="", xticks=[])
        axes.set_yticks(range(len(labels)), [shown(label) for label in labels])
        axes.margins(x=0.08)
        axes.legend(
            loc="lower right",
            bbox_to_anchor=(1, 1),
            ncols=len(splits),
            frameon=False,
            handlelength=1,
            columnspacing=1.2,
        )
        return svg(figure, "classes", "Rows of each class in each split")


def confusion_figure(matrix: ArrayLike, labels: Sequence[str]) -> str:
    """The confusion matrix in three readings: counts, share of each row (recall), of each column (precision).

    Args:
        matrix: counts, shape ``(k, k + 1)``, rows true, columns predicted, last column unparsed.
        labels: the ``k`` classes in the order of the matrix.
    """
    counts = np.asarray(matrix, dtype=np.int64)
    k = len(labels)
    recall, precision = recall_view(counts), precision_view(counts)
    panels = (
        ("Counts", counts / max(1, counts.max()), [[f"{n:,}" for n in row] for row in counts]),
        ("Recall: % of each true class", recall, _percentages(recall, counts.sum(axis=1, keepdims=True))),
        ("Precision: % of each prediction", precision, _percentages(precision, counts.sum(axis=0, keepdims=True))),
    )
    # Side by side while that fits a page, else one below the other.
    few = k <= 6
    cell = 0.62 if few else 0.46
    width, height = (k + 1) * cell, k * cell + 1.35
    with canvas((3 * width + 2.2, height) if few else (width + 2.2, 3 * height)) as figure:
        all_axes = figure.subplots(*((1, 3) if few else (3, 1)), sharey=True)
        for i, (axes, (title, shades, texts)) in enumerate(zip(all_axes, panels, strict=True)):
            sns.heatmap(
                shades,
                vmin=0,
                vmax=1,
                cmap=_HEAT,
                annot=np.array(texts),
                fmt="",
                annot_kws={"color": INK, "fontsize": 11 if few else 9},
                linewidths=1.5,
                linecolor="none",
                cbar=False,
                square=True,
                ax=axes,
            )
            axes.axvline(k, color=INK, linewidth=0.8)
            axes.set(title=title, xlabel="predicted", ylabel="" if few and i else "true")
            names = [shown(label) for label in labels]
            axes.set_xticks(
                np.arange(k + 1) + 0.5, [*names, "unparsed"], rotation=35, ha="right", rotation_mode="anchor"
            )
            axes.set_yticks(np.arange(k) + 0.5, names, rotation=0)
            axes.tick_params(length=0)
        return svg(figure, "confusion", "Confusion matrix as counts, recall and precision")


def _percentages(shares: Floats, totals: Counts) -> list[list[str]]:
    """Shares as they are printed; a dash where there is nothing to have a share of."""
    known = np.broadcast_to(totals > 0, shares.shape)
    return [
        [f"{100 * share:.0f}" if there else "–" for share, there in zip(*row, strict=True)]
        for row in zip(shares, known, strict=True)
    ]


def comparison_figure(scores: Mapping[str, Mapping[str, float]]) -> str:
    """Macro-F1 of each system as a dot with its interval, the first system in the accent colour.

    Args:
        scores: name of a system -> ``value``, ``low`` and ``high``.
    """
    return intervals(scores, "macro-F1", ("comparison", "Macro-F1 of each system with its 95 % interval"))


def leaderboard_figure(scores: Mapping[str, Mapping[str, float]], judged: Sequence[bool]) -> str:
    """Macro-F1 of each system from the best to the worst, those that are judged in the accent colour.

    Args:
        scores: name of a system -> ``value``, ``low`` and ``high``.
        judged: for each of them, whether it is.
    """
    return intervals(
        scores, "macro-F1", ("leaderboard", "Macro-F1 of each system, best first, with its 95 % interval"), judged
    )


def intervals(
    scores: Mapping[str, Mapping[str, float]],
    axis: str,
    identity: tuple[str, str],
    accented: Sequence[bool] | None = None,
) -> str:
    """Values from 0 to 1 as dots with their intervals, one below the other.

    Args:
        scores: what is measured -> ``value``, ``low`` and ``high``.
        axis: what the numbers are.
        identity: name and description of the figure.
        accented: which of them are in the accent colour; the first, if not given.
    """
    accented = [not y for y in range(len(scores))] if accented is None else accented
    with canvas((NARROW, 0.6 + 0.56 * len(scores))) as figure:
        axes = figure.add_subplot()
        for y, (name, score) in enumerate(scores.items()):
            colour = ACCENT if accented[y] else QUIET
            axes.plot([score["low"], score["high"]], [y, y], color=colour, linewidth=3, solid_capstyle="round")
            axes.plot([score["value"]], [y], "o", color=colour, markersize=8)
            # The number stands on the side where there is room.
            left = score["high"] > 0.85
            axes.annotate(
                f"{score['value']:.3f}",
                (score["low"] if left else score["high"], y),
                (-9 if left else 9, 0),
                textcoords="offset points",
                ha="right" if left else "left",
                va="center",
            )
            axes.text(0, y - 0.38, shown(name), ha="left", va="center", fontsize=10)
        axes.set_yticks([])
        axes.set_ylim(len(scores) - 0.55, -0.75)
        axes.set_xlim(-0.02, 1.02)
        axes.set_xlabel(axis, loc="left")
        axes.grid(axis="x", color=QUIET, alpha=0.3, linewidth=0.8)
        axes.set_axisbelow(True)
        bare(axes)
        return svg(figure, *identity)
