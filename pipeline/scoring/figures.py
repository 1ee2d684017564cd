"""Figures as SVG text: the same input gives the same bytes, and they fit a light and a dark page.

What is drawn in ``INK`` becomes ``currentColor``, data colours are of middle lightness, and the ground is
transparent. Styles become attributes, because the report's Content-Security-Policy forbids inline styles.
Figures show counts and labels, never the text of a tweet.
"""

import io
import re
import warnings
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from pipeline.scoring.confusion import precision_view, recall_view

INK = "#010203"
ACCENT = "#2a7fb8"
QUIET = "#8a929b"
# Inches: read without scrolling on a telephone.
_NARROW = 4.7
# Blues that differ in lightness, and ochre: told apart without colour vision and in a grey print.
_SPLIT_COLOURS = ("#2a7fb8", "#7db4d9", "#a9802f", "#8a929b")
_HEAT = LinearSegmentedColormap.from_list("heat", [(*mpl.colors.to_rgb(ACCENT), a) for a in (0.02, 0.62)])
# Read on white and on black alike; a page overrides it with its own text colour.
_STANDALONE_INK = "#6e7781"
_FONTS = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Noto Sans', sans-serif"
# Lone surrogates and controls have no place in XML.
_NOT_XML = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
_SVG = "{http://www.w3.org/2000/svg}"
_XLINK_HREF = "{http://www.w3.org/1999/xlink}href"
_STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "sentiment-tuner",
    "text.parse_math": False,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "font.size": 11,
    "axes.titlesize": 12,
    "axes.titlelocation": "left",
    "axes.titlepad": 10,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
}


def class_distribution(counts: Mapping[str, Mapping[str, int]], labels: Sequence[str]) -> str:
    """Rows of each class in each split, as grouped bars with their numbers.

    Args:
        counts: split -> label -> number of rows; a missing label counts 0.
        labels: the classes from top to bottom.
    """
    counts = {_shown(split): row for split, row in counts.items()}
    splits = list(counts)
    colours = [_SPLIT_COLOURS[i % len(_SPLIT_COLOURS)] for i in range(len(splits))]
    height = 0.9 + len(labels) * (0.18 + 0.24 * len(splits))
    with _figure((_NARROW, height)) as figure:
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
        _bare(axes)
        axes.set(xlabel="", ylabel="", xticks=[])
        axes.set_yticks(range(len(labels)), [_shown(label) for label in labels])
        axes.margins(x=0.08)
        axes.legend(
            loc="lower right",
            bbox_to_anchor=(1, 1),
            ncols=len(splits),
            frameon=False,
            handlelength=1,
            columnspacing=1.2,
        )
        return _svg(figure, "classes", "Rows of each class in each split")


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
        ("Recall: % of each true class", recall, [[f"{100 * share:.0f}" for share in row] for row in recall]),
        ("Precision: % of each prediction", precision, [[f"{100 * share:.0f}" for share in row] for row in precision]),
    )
    # Side by side while that fits a page, else one below the other.
    few = k <= 6
    cell = 0.62 if few else 0.46
    width, height = (k + 1) * cell, k * cell + 1.35
    with _figure((3 * width + 2.2, height) if few else (width + 2.2, 3 * height)) as figure:
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
            names = [_shown(label) for label in labels]
            axes.set_xticks(
                np.arange(k + 1) + 0.5, [*names, "unparsed"], rotation=35, ha="right", rotation_mode="anchor"
            )
            axes.set_yticks(np.arange(k) + 0.5, names, rotation=0)
            axes.tick_params(length=0)
        return _svg(figure, "confusion", "Confusion matrix of the tuned model as counts, recall and precision")


def comparison_figure(scores: Mapping[str, Mapping[str, float]]) -> str:
    """Macro-F1 of each system as a dot with its interval, the first system in the accent colour.

    Args:
        scores: name of a system -> ``value``, ``low`` and ``high``.
    """
    with _figure((_NARROW, 0.6 + 0.56 * len(scores))) as figure:
        axes = figure.add_subplot()
        for y, (name, score) in enumerate(scores.items()):
            colour = QUIET if y else ACCENT
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
            axes.text(0, y - 0.38, _shown(name), ha="left", va="center", fontsize=10)
        axes.set_yticks([])
        axes.set_ylim(len(scores) - 0.55, -0.75)
        axes.set_xlim(-0.02, 1.02)
        axes.set_xlabel("macro-F1", loc="left")
        axes.grid(axis="x", color=QUIET, alpha=0.3, linewidth=0.8)
        axes.set_axisbelow(True)
        _bare(axes)
        return _svg(figure, "comparison", "Macro-F1 of each system with its 95 % interval")


@contextmanager
def _figure(size: tuple[float, float]) -> Iterator[Figure]:
    """A figure of its own in the house style, in inches; nothing global is touched."""
    with mpl.rc_context(_STYLE), warnings.catch_warnings():
        # The reader's fonts draw the text, so a glyph that matplotlib's own font lacks is no loss.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure = Figure(figsize=size)
        FigureCanvasSVG(figure)
        yield figure


def _svg(figure: Figure, name: str, description: str) -> str:
    """The figure as an ``<svg>`` element: attributes in place of styles, ids that start with ``name``."""
    # Set as late as here, or seaborn lays the figure out anew for every panel.
    figure.set_layout_engine("constrained")
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    ET.register_namespace("", _SVG.strip("{}"))
    root = ET.fromstring(buffer.getvalue())  # noqa: S314  matplotlib has just written it
    for child in [c for c in root if c.tag.endswith("metadata")]:
        root.remove(child)
    for parent in root.iter():
        for child in [c for c in parent if c.tag == _SVG + "style"]:
            parent.remove(child)
    for element in root.iter():
        _plain_attributes(element, name)
    root.attrib.update(
        {
            "role": "img",
            "aria-label": description,
            "color": _STANDALONE_INK,
            "font-family": _FONTS,
            "stroke-linejoin": "round",
        }
    )
    text = ET.tostring(root, encoding="unicode").replace(INK, "currentColor")
    return re.sub(r"\n\s*", "\n", text) + "\n"


def _plain_attributes(element: ET.Element, name: str) -> None:
    for declaration in element.attrib.pop("style", "").split(";"):
        key, _, value = (part.strip() for part in declaration.partition(":"))
        if key == "font":
            # The shorthand is no attribute; its size is, and the family is the page's.
            size = re.search(r"[\d.]+px", value)
            element.set("font-size", size.group() if size else "11px")
        elif key and not key.startswith("font-family"):
            element.set(key, value)
    if _XLINK_HREF in element.attrib:
        element.set("href", f"#{name}-" + element.attrib.pop(_XLINK_HREF).removeprefix("#"))
    if "clip-path" in element.attrib:
        element.set("clip-path", element.attrib["clip-path"].replace("#", f"#{name}-"))
    if "id" in element.attrib:
        element.set("id", f"{name}-{element.attrib['id']}")


def _shown(label: str) -> str:
    """A label short enough for an axis, with what matplotlib cannot draw replaced."""
    label = _NOT_XML.sub("\ufffd", label)
    return label if len(label) <= 24 else label[:23] + "…"


def _bare(axes: Axes) -> None:
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.tick_params(length=0)
