"""The figures of the data page. They show counts, shares and labels, never the text of a tweet."""

from collections.abc import Mapping, Sequence
from datetime import datetime

import matplotlib as mpl
import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, date2num

from pipeline.scoring.drawing import ACCENT, INK, NARROW, QUIET, SPLIT_COLOURS, bare, canvas, shown, svg
from pipeline.scoring.page import share_text

_OUT = SPLIT_COLOURS[2]
_DASHED = (0, (4, 2))
# Days; months and years as on average.
_UNIT = {"hour": 1 / 24, "day": 1.0, "week": 7.0, "month": 30.4, "year": 365.2}


def waterfall(read: int, steps: Sequence[tuple[str, int]], kept: int, synthetic: int = 0) -> str:
    """From the rows read to the rows kept, one bar for each reason to leave rows out; then those added, if any.

    Args:
        read: number of rows at the start.
        steps: reason and number of rows, in the order in which they were left out.
        kept: number of rows at the end.
        synthetic: number of rows that a teacher added to them.
    """
    names = ["read", *(shown(reason) for reason, _ in steps), "kept", *(["synthetic", "all"] if synthetic else [])]
    with canvas((NARROW, 0.3 + 0.33 * len(names))) as figure:
        axes = figure.add_subplot()
        _bar(axes, 0, 0, read, QUIET, f"{read:,}")
        left = read
        for y, (_, n) in enumerate(steps, start=1):
            left -= n
            _bar(axes, y, left, n, _OUT, f"−{n:,}")
            axes.plot([left + n, left + n], [y - 0.62, y - 0.38], color=QUIET, linewidth=0.8)
        _bar(axes, len(steps) + 1, 0, kept, ACCENT, f"{kept:,}")
        axes.plot([kept, kept], [len(steps) + 0.38, len(steps) + 0.62], color=QUIET, linewidth=0.8)
        if synthetic:
            _bar(axes, len(steps) + 2, kept, synthetic, QUIET, f"+{synthetic:,}")
            _bar(axes, len(steps) + 3, 0, kept + synthetic, ACCENT, f"{kept + synthetic:,}")
        axes.set_yticks(range(len(names)), names)
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.set_xlim(0, 1.2 * max(1, read, kept + synthetic))
        axes.set_xticks([])
        bare(axes)
        added = ", with those that a teacher added" if synthetic else ""
        return svg(figure, "waterfall", f"Rows read, left out by reason, and kept{added}")


def class_bars(counts: Mapping[str, Mapping[str, int]], labels: Sequence[str]) -> str:
    """Rows of each class, one bar a class with a piece for each split and the sum behind it.

    Args:
        counts: split -> label -> number of rows.
        labels: the classes from top to bottom.
    """
    with canvas((NARROW, 0.7 + 0.33 * len(labels))) as figure:
        axes = figure.add_subplot()
        left = np.zeros(len(labels))
        colours = SPLIT_COLOURS if len(counts) <= len(SPLIT_COLOURS) else sns.color_palette("crest", len(counts))
        for colour, (split, row) in zip(colours, counts.items(), strict=False):
            n = np.array([row.get(label, 0) for label in labels])
            axes.barh(range(len(labels)), n, left=left, height=0.62, color=colour, label=shown(split))
            left += n
        for y, total in enumerate(left):
            _write(axes, f"{total:,.0f}", (total, y))
        axes.set_yticks(range(len(labels)), [shown(label) for label in labels])
        axes.set_ylim(len(labels) - 0.5, -0.5)
        axes.set_xlim(0, 1.18 * max(1, left.max()))
        axes.set_xticks([])
        bare(axes)
        figure.legend(loc="outside upper left", ncols=4, frameon=False, handlelength=1, columnspacing=1.2)
        return svg(figure, "classbars", "Rows of each class, by split")


def gauge(shares: Mapping[str, Mapping[str, float]], name: str) -> str:
    """Shares from 0 to 1 as bars with their percentages, in groups; the first group in the accent colour.

    Args:
        shares: group -> what is measured -> share.
        name: of the figure on its page.
    """
    rows = sum(len(group) for group in shares.values())
    largest = max((share for group in shares.values() for share in group.values()), default=0)
    with canvas((NARROW, 0.25 + 0.27 * rows + 0.42 * len(shares))) as figure:
        axes = figure.add_subplot()
        y, ticks = 0.0, []
        for i, (title, group) in enumerate(shares.items()):
            axes.text(0, y, shown(title), ha="left", va="center", fontweight="bold")
            y += 1
            axes.plot([0, 0], [y - 0.5, y + len(group) - 0.5], color=INK, linewidth=0.8)
            for kind, share in group.items():
                _bar(axes, y, 0, share, QUIET if i else ACCENT, share_text(share))
                ticks.append((y, shown(kind)))
                y += 1
            y += 0.4
        axes.set_yticks(*zip(*ticks, strict=True))
        axes.set_ylim(y - 0.7, -0.6)
        axes.set_xlim(0, 1.25 * max(0.04, largest))
        axes.set_xticks([])
        bare(axes)
        return svg(figure, name, "Share of test tweets with a copy in train, by split")


def share_bars(shares: Mapping[str, float], name: str, description: str) -> str:
    """One bar from 0 to 100 % for each class, with its percentage."""
    with canvas((NARROW, 0.3 + 0.33 * len(shares))) as figure:
        axes = figure.add_subplot()
        axes.barh(range(len(shares)), 1, height=0.62, color=QUIET, alpha=0.18)
        for y, share in enumerate(shares.values()):
            axes.barh(y, share, height=0.62, color=ACCENT)
            _write(axes, share_text(share), (1, y))
        axes.set_yticks(range(len(shares)), [shown(label) for label in shares])
        axes.set_ylim(len(shares) - 0.5, -0.5)
        axes.set_xlim(0, 1.2)
        axes.set_xticks([])
        bare(axes)
        return svg(figure, name, description)


def histogram(bins: Sequence[Sequence[float]], marks: Mapping[str, float], name: str) -> str:
    """How many rows are how long.

    Args:
        bins: lower end, upper end and number of rows, from short to long; an open one is drawn as wide as the first.
        marks: name of a length -> length, drawn as a line across the bars unless it lies beyond them.
        name: the unit, such as ``characters``; also the figure's name on its page.
    """
    with canvas((NARROW, 2.5)) as figure:
        axes = figure.add_subplot()
        width = bins[0][1] - bins[0][0]
        end = bins[-1][0] + width if is_open(bins) else bins[-1][1]
        _steps(axes, [(low, min(high, end) - 0.06 * width, 0, n) for low, high, n in bins])
        top = max((n for _, _, n in bins), default=1)
        inside = sorted((at, mark) for mark, at in marks.items() if at <= end)
        for i, (at, mark) in enumerate(reversed(inside)):
            # The further left a line, the longer it is, so that its words pass above those to the right.
            height = top * (1.08 + 0.14 * i)
            axes.plot([at, at], [0, height], color=INK, linewidth=0.9, linestyle=_DASHED)
            _write(axes, f"{mark} {at:,.0f}", (at, height))
        axes.set_xlabel(name, loc="left")
        axes.yaxis.set_major_locator(mpl.ticker.MaxNLocator(3, integer=True))
        axes.yaxis.set_major_formatter("{x:,.0f}")
        axes.xaxis.set_major_formatter("{x:,.0f}")
        axes.grid(axis="y", color=QUIET, alpha=0.3, linewidth=0.8)
        axes.set_axisbelow(True)
        bare(axes)
        return svg(figure, name, f"Number of rows by length in {name}")


def is_open(bins: Sequence[Sequence[float]]) -> bool:
    """Whether the last bin is wider than the first because it holds all that is longer."""
    return len(bins) > 1 and bins[-1][1] - bins[-1][0] > 1.5 * (bins[0][1] - bins[0][0])


def timeline(
    unit: str, bins: Sequence[tuple[str, Mapping[str, int]]], labels: Sequence[str], boundaries: Mapping[str, str]
) -> str:
    """Rows over time, one strip for each class; every strip has its own scale.

    Args:
        unit: of the bins: ``hour``, ``day``, ``week``, ``month`` or ``year``.
        bins: start in ISO 8601 -> label -> number of rows.
        labels: the classes from top to bottom.
        boundaries: split -> its start in ISO 8601, drawn as a line.
    """
    starts = [_day(start) for start, _ in bins]
    width = _UNIT.get(unit, 1.0)
    end = max(starts) + width
    # Inches a strip, and how many strips one line of words takes.
    height = 0.6 if len(labels) <= 6 else 0.33
    line = 0.18 / height
    with canvas((NARROW, 0.75 + height * len(labels))) as figure:
        axes = figure.add_subplot()
        for strip, label in enumerate(labels):
            rows = [counts.get(label, 0) for _, counts in bins]
            foot, scale = strip + 0.9, 0.8 / max(1, *rows)
            _steps(axes, [(at, at + width, foot, foot - scale * n) for at, n in zip(starts, rows, strict=True)])
            axes.plot([min(starts), end], [foot, foot], color=QUIET, linewidth=0.8)
            _write(axes, f"{sum(rows):,}", (end, strip + 0.5))
        for i, (split, at) in enumerate(sorted(boundaries.items(), key=lambda item: item[1], reverse=True)):
            top = -line * (0.5 + i)
            axes.plot(
                [_day(at), _day(at)], [top - line / 3, len(labels) - 0.1], color=INK, linewidth=0.9, linestyle=_DASHED
            )
            _write(axes, shown(split), (_day(at), top))
        axes.set_yticks(np.arange(len(labels)) + 0.5, [shown(label) for label in labels])
        axes.set_ylim(len(labels), -line * len(boundaries))
        locator = AutoDateLocator(minticks=3, maxticks=6)  # type: ignore[no-untyped-call]
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
        bare(axes)
        return svg(figure, "timeline", "Rows of each class over time")


def _bar(axes: Axes, y: float, left: float, width: float, colour: str, text: str) -> None:
    """A bar that is seen even where it is next to nothing, with its number at its right end."""
    axes.barh(y, width, left=left, height=0.62, color=colour, edgecolor=colour, linewidth=0.8 if width else 0)
    _write(axes, text, (left + width, y))


def _steps(axes: Axes, bars: Sequence[tuple[float, float, float, float]]) -> None:
    """Bars that stand side by side as one shape: left, right, foot and top of each."""
    left, right, foot, top = np.array(bars, dtype=float).T
    axes.fill(
        np.stack([left, left, right, right], axis=1).ravel(),
        np.stack([foot, top, top, foot], axis=1).ravel(),
        color=ACCENT,
        linewidth=0,
    )


def _write(axes: Axes, text: str, at: tuple[float, float], rise: float = 0) -> None:
    """Small text to the right of a point of the data, ``rise`` points above it."""
    axes.annotate(text, at, (5, rise), textcoords="offset points", va="center", fontsize=10)


def _day(iso: str) -> float:
    """A moment as matplotlib counts it, in days."""
    return float(date2num(datetime.fromisoformat(iso)))  # type: ignore[no-untyped-call]
