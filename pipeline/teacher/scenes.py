"""What a teacher writes about: scenes, voices, examples of style and variants of the prompt, from a YAML file."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from pipeline.errors import PipelineError, did_you_mean, first_line

SLOTS = ("about", "label", "meaning", "scene", "voice")
_SLOT = re.compile(r"\{(\w*)\}")
_LISTS = ("scenes", "voices", "prompts")


@dataclass(frozen=True)
class Scenes:
    """``meanings`` says of each class what it means, ``styles`` has texts in its style, which may be none.

    The ``prompts`` hold the slots ``{about} {label} {meaning} {scene} {voice}``. ``file`` is the name of the file that
    they were read from, ``source`` its content.
    """

    about: str
    meanings: Mapping[str, str]
    scenes: Sequence[str]
    voices: Sequence[str]
    prompts: Sequence[str]
    styles: Mapping[str, Sequence[str]]
    file: str
    source: bytes

    def prompt(self, number: int, label: str, scene: str, voice: str) -> str:
        """A variant of the prompt with its slots filled, each once: braces in what is filled in mean nothing."""
        values = {"about": self.about, "label": label, "meaning": self.meanings[label], "scene": scene, "voice": voice}
        return _SLOT.sub(lambda slot: values[slot[1]], self.prompts[number])


def read_scenes(path: Path, labels: Sequence[str]) -> Scenes:
    """The scenes of a file, for a task with these classes.

    Raises:
        PipelineError: a key is unknown, missing or given twice, a value is of the wrong kind, a prompt has an unknown
            slot, or a class has no meaning; the message names the line.
    """
    try:
        # Nodes and not values: they know their lines.
        source = path.read_bytes()
        root = yaml.compose(source.decode(), Loader=yaml.SafeLoader)
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        raise PipelineError(f"{path}: expected a YAML file in UTF-8; {first_line(error)}{_where(error)}") from error
    found = _mapping(path, root, "the file")
    known = ("about", "labels", *_LISTS, "styles")
    _refuse_unknown(path, found, known)
    for key in known[:-1]:
        if key not in found:
            raise PipelineError(f"{path}: expected the key {key!r}; add it, the keys are {', '.join(known)}")
    lists = {key: _texts(path, found[key][1], key) for key in _LISTS}
    for text, node in zip(lists["prompts"], found["prompts"][1].value, strict=True):
        if strange := [slot for slot in _SLOT.findall(text) if slot not in SLOTS]:
            raise PipelineError(
                f"{_at(path, node)}: expected the slots {', '.join(f'{{{slot}}}' for slot in SLOTS)}, got "
                f"{{{strange[0]}}}"
            )
        for slot in ("label", "scene"):
            if f"{{{slot}}}" not in text:
                raise PipelineError(
                    f"{_at(path, node)}: expected {{{slot}}} in the prompt, without which all are alike"
                )
    meanings = _mapping(path, found["labels"][1], "labels")
    _refuse_unknown(path, meanings, labels)
    if lacking := [label for label in labels if label not in meanings]:
        raise PipelineError(
            f"{_at(path, found['labels'][0])}: expected what each of {', '.join(labels)} means, got nothing for "
            f"{lacking[0]!r}; add it"
        )
    styles = _mapping(path, found["styles"][1], "styles") if "styles" in found else {}
    _refuse_unknown(path, styles, labels)
    return Scenes(
        about=_text(path, found["about"][1], "about"),
        meanings={label: _text(path, meanings[label][1], label) for label in labels},
        styles={label: _texts(path, node, label) for label, (_, node) in styles.items()},
        **lists,
        file=path.name,
        source=source,
    )


def _mapping(path: Path, node: Any, what: str) -> dict[str, tuple[Any, Any]]:
    """Key -> the nodes of the key and of its value."""
    if not isinstance(node, yaml.MappingNode):
        raise PipelineError(f"{_at(path, node)}: expected {what} to be keys with values, got {_kind(node)}")
    found: dict[str, tuple[Any, Any]] = {}
    for key, value in node.value:
        name = _text(path, key, "a key")
        if name in found:
            raise PipelineError(f"{_at(path, key)}: {name!r} is there twice; keep one of them")
        found[name] = (key, value)
    return found


def _refuse_unknown(path: Path, found: Mapping[str, tuple[Any, Any]], known: Sequence[str]) -> None:
    for name, (key, _) in found.items():
        if name not in known:
            raise PipelineError(
                f"{_at(path, key)}: unknown key {name!r}{did_you_mean(name, known)}; expected {', '.join(known)}"
            )


def _texts(path: Path, node: Any, what: str) -> list[str]:
    if not isinstance(node, yaml.SequenceNode) or not node.value:
        raise PipelineError(f"{_at(path, node)}: expected {what} to be a list of texts, got {_kind(node)}")
    texts = [_text(path, each, f"each of {what}") for each in node.value]
    for text, each in zip(texts, node.value, strict=True):
        if texts.index(text) != node.value.index(each):
            raise PipelineError(f"{_at(path, each)}: {text[:40]!r} is there twice; keep one of them")
    return texts


def _text(path: Path, node: Any, what: str) -> str:
    # A bare "no" or "1" is a text here as well, whatever YAML takes it for.
    if not isinstance(node, yaml.ScalarNode) or not node.value.strip():
        raise PipelineError(f"{_at(path, node)}: expected {what} to be a text, got {_kind(node)}")
    return str(node.value).strip()


def _kind(node: Any) -> str:
    if isinstance(node, yaml.ScalarNode):
        return repr(node.value[:40]) if node.value.strip() else "nothing"
    empty = node is None or not node.value
    return "nothing" if empty else "a list" if isinstance(node, yaml.SequenceNode) else "keys with values"


def _at(path: Path, node: Any) -> str:
    return f"{path}, line {node.start_mark.line + 1}" if node is not None else str(path)


def _where(error: BaseException) -> str:
    mark = getattr(error, "problem_mark", None)
    return f", line {mark.line + 1}" if mark is not None else ""
