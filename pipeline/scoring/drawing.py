"""How every figure is drawn as SVG text: the same input gives the same bytes, and they fit a light and a dark page.

What is drawn in ``INK`` becomes ``currentColor``, data colours are of middle lightness, and the ground is
transparent. Styles become attributes, because the pages' Content-Security-Policy forbids inline styles.
"""

import io
import re
import warnings
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

INK = "#010203"
ACCENT = "#2a7fb8"
QUIET = "#8a929b"
# Inches: read without scrolling on a telephone.
NARROW = 4.7
# Blues that differ in lightness, and ochre: told apart without colour vision and in a grey print.
SPLIT_COLOURS = ("#2a7fb8", "#7db4d9", "#a9802f", "#8a929b")
# Read on white and on black alike; a page overrides it with its own text colour.
_STANDALONE_INK = "#6e7781"
_FONTS = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Noto Sans', sans-serif"
# Lone surrogates and controls have no place in XML; what turns the direction of text would turn the axis beside it.
_NOT_DRAWN = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")
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


@contextmanager
def canvas(size: tuple[float, float]) -> Iterator[Figure]:
    """A figure of its own in the house style, in inches; nothing global is touched."""
    with mpl.rc_context(_STYLE), warnings.catch_warnings():
        # The reader's fonts draw the text, so a glyph that matplotlib's own font lacks is no loss.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure = Figure(figsize=size)
        FigureCanvasSVG(figure)
        yield figure


def svg(figure: Figure, name: str, description: str) -> str:
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


def shown(label: str) -> str:
    """A label short enough for an axis, with what matplotlib cannot draw replaced."""
    label = _NOT_DRAWN.sub("\ufffd", label)
    return label if len(label) <= 24 else label[:23] + "…"


def bare(axes: Axes) -> None:
    """Takes away the frame and the tick marks."""
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.tick_params(length=0)
