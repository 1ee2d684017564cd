"""What the pages share: how foreign text is made visible, how facts are listed, and the one place that trusts HTML."""

import base64
import hashlib
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from pipeline.scoring.verdict import name_of, number_text, percent_text, signed_text, system_name

_TEMPLATES = Path(__file__).resolve().parent / "templates"
_SURROGATE = re.compile("[\ud800-\udfff]")
# C0 but tab and line feed, DEL and C1, then what is invisible or turns the direction of the text around it. U+200C,
# U+200D and U+FE0F stay: Persian words and emoji sequences are made with them.
_HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ufffe\uffff]"
)


def visible(text: object, cap: int) -> str:
    """Text as a reader should see it: hidden characters by their code, ``cap`` characters at most.

    Escaping is the template's work; this is for what HTML would let pass.
    """
    text = _SURROGATE.sub("\ufffd", str(text))
    if len(text) > cap:
        text = text[:cap].rstrip() + " …"
    return _HIDDEN.sub(lambda match: f"⟨U+{ord(match.group()):04X}⟩", text.replace("\r\n", "\n"))


def sentence(text: str) -> Markup:
    """A sentence with its numbers kept on one line, and its options, which browsers would break behind the dashes."""
    joined = re.sub(r"(?<=\d) (?=%)|(?<=\bp [<=]) |(?<=\bp) (?=[<=])", "\u00a0", visible(text, 1000))
    return trusted(re.sub(r"--\w+", r'<span class="option">\g<0></span>', str(escape(joined))))


def share_text(share: float) -> str:
    """A share as a percentage with one decimal; next to nothing is not called nothing, nor nearly all called all."""
    if 0 < share < 0.0005:
        return "< 0.1 %"
    return "> 99.9 %" if 0.9995 <= share < 1 else percent_text(share)


def moment(iso: str) -> str:
    """A moment in ISO 8601 as people write it: to the second, without its zone, and without a time at midnight."""
    return iso[:19].replace("T", " ").removesuffix(" 00:00:00")


def trusted(text: str) -> Markup:
    """Marks text as HTML: the one place that does, for the style sheets and the figures of this package.

    The figures hold labels; the XML writer has escaped them.
    """
    return Markup(text)  # noqa: S704


class Style(NamedTuple):
    """A style sheet, and the source expression that lets it pass the page's Content-Security-Policy."""

    css: Markup
    hash: str


def style(*names: str) -> Style:
    """The named style sheets one after the other."""
    css = "".join((_TEMPLATES / name).read_text(encoding="utf-8") for name in names)
    return Style(trusted(css), f"sha256-{base64.b64encode(hashlib.sha256(css.encode()).digest()).decode()}")


def environment() -> Environment:
    """Where the templates are found, with escaping, and the filters that ``macros.html`` uses."""
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "visible": visible,
        "sentence": sentence,
        "three": number_text,
        "signed": signed_text,
        "percent": percent_text,
        "share": share_text,
        "moment": moment,
        "count": lambda n: f"{n:,.10g}",
        "in_sentence": name_of,
        "system_name": system_name,
        "p": lambda p: "< 0.001" if p < 0.001 else f"{p:.3f}",
    }
    return environment


def facts(value: object, name: str = "") -> list[tuple[str, str]]:
    """Nested facts as (name, text) pairs in their order; a level of nesting is a ``·`` in the name."""
    if isinstance(value, Mapping):
        return [
            fact
            for key, inner in value.items()
            for fact in facts(inner, f"{name} · {key}".removeprefix(" · ").replace("_", " "))
        ]
    if isinstance(value, list | tuple):
        if any(isinstance(item, Mapping) for item in value):
            return facts(dict(enumerate(value, start=1)), name)
        if name == "argv" or name.endswith("· argv"):
            return [(name, shlex.join(str(word) for word in value))]
        return [(name, ", ".join(str(item) for item in value))]
    if isinstance(value, bool):
        return [(name, "yes" if value else "no")]
    if isinstance(value, int) and abs(value) >= 10_000:
        return [(name, f"{value:,}")]
    return [(name, "none" if value is None else str(value))]


def alarm_name(kind: str) -> str:
    """What an alarm about the data is called."""
    text = kind.replace("_", " ").replace("machine made", "machine-made labels")
    return text[:1].upper() + text[1:]
