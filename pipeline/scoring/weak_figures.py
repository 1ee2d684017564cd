"""The figures of the section on where a system fails. They show numbers, kinds of tweets and labels, never a tweet."""

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.scoring.drawing import ACCENT, INK, NARROW, QUIET, SPLIT_COLOURS, bare, canvas, shown, svg
from pipeline.scoring.verdict import system_name

DRAWN = 15
_WEAK = SPLIT_COLOURS[2]
_DASHED = (0, (4, 2))


def weak_figures(weak: Mapping[str, Any]) -> dict[str, str]:
    """The figures of what ``weaknesses`` found, by name; one that would be empty is missing.

    ``weak_segments`` where a kind of tweets was judged, ``weak_similarity`` where the similarities have two parts.
    """
    figures = {}
    if weak["segments"]["judged"]:
        figures["weak_segments"] = segments_figure(weak["segments"]["judged"])
    if weak["similarity"] is not None and len(weak["similarity"]["bins"]) > 1:
        figures["weak_similarity"] = similarity_figure(weak["similarity"]["bins"])
    return figures


def segments_figure(judged: Sequence[Mapping[str, Any]]) -> str:
    """How far accuracy in each kind of tweets lies from the rest, the worst first; weak ones in ochre.

    Args:
        judged: from ``judge``, at least one; the first 15 are drawn.
    """
    drawn = judged[:DRAWN]
    with canvas((NARROW, 0.7 + 0.3 * len(drawn))) as figure:
        axes = figure.add_subplot()
        for y, found in enumerate(drawn):
            gap, colour = found["difference"], _WEAK if found["finding"] == "weak" else ACCENT
            axes.plot([gap["low"], gap["high"]], [y, y], color=colour, linewidth=2.5, solid_capstyle="round")
            axes.plot([gap["value"]], [y], "o", color=colour, markersize=6)
        axes.axvline(0, color=INK, linewidth=0.9, linestyle=_DASHED)
        axes.set_yticks(range(len(drawn)), [shown(found["name"]) for found in drawn])
        axes.set_ylim(len(drawn) - 0.5, -0.5)
        axes.set_xlabel("accuracy minus that of the rest", loc="left")
        axes.xaxis.set_major_formatter(lambda x, _: f"{x:+.2g}".replace("-", "−") if abs(x) > 1e-9 else "0")
        axes.locator_params(axis="x", nbins=6)
        axes.grid(axis="x", color=QUIET, alpha=0.3, linewidth=0.8)
        axes.set_axisbelow(True)
        bare(axes)
        return svg(figure, "weaksegments", "Accuracy in each kind of tweets minus accuracy in the rest")


def similarity_figure(bins: Sequence[Mapping[str, Any]]) -> str:
    """Accuracy against the likeness of the nearest training tweet, with its intervals; the first system in blue.

    Args:
        bins: from ``by_similarity``, from the least alike to the most.
    """
    with canvas((NARROW, 2.9)) as figure:
        axes = figure.add_subplot()
        systems = list(bins[0]["accuracy"])
        for system, colour in reversed(list(zip(systems, (ACCENT, QUIET), strict=False))):
            at, found = [part["mean"] for part in bins], [part["accuracy"][system] for part in bins]
            name = shown(system_name(system))
            axes.plot(at, [score["value"] for score in found], "o-", color=colour, linewidth=1.5, label=name)
            for x, score in zip(at, found, strict=True):
                axes.plot([x, x], [score["low"], score["high"]], color=colour, linewidth=1.2, alpha=0.7)
        axes.set(xlim=(0, min(1.02, 1.15 * bins[-1]["mean"] + 0.01)), ylim=(0, 1.02), ylabel="accuracy")
        axes.set_xlabel("likeness of the nearest training tweet", loc="left")
        axes.grid(axis="y", color=QUIET, alpha=0.3, linewidth=0.8)
        axes.set_axisbelow(True)
        bare(axes)
        figure.legend(loc="outside upper left", ncols=2, reverse=True, frameon=False, handlelength=1.4)
        return svg(figure, "weaksimilarity", "Accuracy by the likeness of the nearest training tweet")
