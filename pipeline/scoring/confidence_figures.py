"""The figures of the section on confidence: numbers only, no label and no tweet."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes

from pipeline.scoring.calibration import WIDTH_BINS
from pipeline.scoring.drawing import ACCENT, INK, NARROW, QUIET, bare, canvas, svg

_LARGEST_DOT = 130


def reliability_figure(bins: Sequence[Mapping[str, Any]]) -> str:
    """Accuracy against confidence: dots by number of rows, with intervals, before the band of a calibrated model.

    Args:
        bins: the bins of equal width as ``calibration_error`` gives them.
    """
    most = max(one["n"] for one in bins)
    with canvas((NARROW, NARROW)) as figure:
        axes = figure.add_subplot()
        for one in bins:
            axes.fill_between(
                [one["bin"] / WIDTH_BINS, (one["bin"] + 1) / WIDTH_BINS],
                one["null_low"],
                one["null_high"],
                color=QUIET,
                alpha=0.28,
                linewidth=0,
            )
        axes.plot([0, 1], [0, 1], color=INK, linewidth=0.8, dashes=(4, 3))
        for one in bins:
            x, accuracy = one["confidence"], one["accuracy"]
            axes.plot([x, x], [accuracy["low"], accuracy["high"]], color=ACCENT, linewidth=1.6, alpha=0.75)
            axes.scatter([x], [accuracy["value"]], s=18 + _LARGEST_DOT * one["n"] / most, color=ACCENT, zorder=3)
        axes.set(xlabel="confidence in the likeliest label", ylabel="how often it is right")
        _unit(axes)
        axes.set_aspect("equal")
        return svg(figure, "reliability", "Accuracy against confidence, with the band of a calibrated model")


def risk_coverage_figure(selective: Mapping[str, Any]) -> str:
    """Share of errors among the answers kept, against the share of answers kept, the surest first.

    Args:
        selective: what ``confidence`` gives under that key.
    """
    curve, errors = selective["curve"], selective["random"]["value"]
    coverage = [point["coverage"] for point in curve]
    highest = max([0.02, errors, *(point["risk"] for point in curve if point["coverage"] >= 0.1)])
    with canvas((NARROW, 3.4)) as figure:
        axes = figure.add_subplot()
        low, high = ([point[end] for point in curve] for end in ("low", "high"))
        axes.fill_between(coverage, low, high, color=ACCENT, alpha=0.18, linewidth=0)
        axes.plot([0, 1], [errors, errors], color=QUIET, linewidth=1.4, dashes=(4, 3))
        axes.plot([0, 1 - errors, 1], [0, 0, errors], color=QUIET, linewidth=1.4)
        axes.plot(coverage, [point["risk"] for point in curve], color=ACCENT, linewidth=2.2, marker="o", markevery=[-1])
        found = (selective["recommended"] or {}).get("test")
        if found and found["accuracy"]:
            at = (found["coverage"]["value"], 1 - found["accuracy"]["value"])
            axes.plot(*at, "D", color=INK, markersize=7)
            axes.annotate("threshold", at, (0, 9), textcoords="offset points", ha="center", fontsize=10)
        axes.text(0.01, errors, "confidence says nothing", ha="left", va="bottom", fontsize=10, color=INK)
        axes.text(max(0.02, 0.98 - errors), 0, "errors all last", ha="right", va="bottom", fontsize=10, color=INK)
        axes.set(xlabel="share of tweets answered, the surest first", ylabel="share of errors among them")
        _unit(axes)
        axes.set_ylim(-0.04 * highest, min(1.04, 1.35 * highest))
        return svg(figure, "risk-coverage", "Share of errors against the share of tweets answered")


def _unit(axes: Axes) -> None:
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    axes.grid(color=QUIET, alpha=0.3, linewidth=0.8)
    axes.set_axisbelow(True)
    bare(axes)
