"""How ``--help`` reads: sections with headings, and of each option what it may be and what it is if not given."""

import argparse
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal

import jsonargparse

EXIT_CODES = (
    "exit codes: 0 done; 1 something outside the code, told in a line; 2 an option that cannot be read; 3 stopped;\n"
    "4 no disk or memory; 5 the folder to write is in use"
)


class HelpFormatter(jsonargparse.DefaultHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Keeps the line breaks of the summary, and tells of an option what a user needs: no types, no empty defaults."""

    def _get_help_string(self, action: argparse.Action) -> str:
        text, default = action.help or "", action.default
        if action.required:
            return f"{text} (required)"
        if _kind(action) is None or default is None or default is False or default in ("", []):
            return text
        return f"{text} (default: {_written(default)})"

    def _format_action_invocation(self, action: argparse.Action) -> str:
        if _kind(action) is bool and action.default is False:
            return action.option_strings[0]
        return super()._format_action_invocation(action).rstrip()


def lay_out(parser: argparse.ArgumentParser, sections: Mapping[str, str]) -> None:
    """Divides the options by headings; what every command has comes last.

    Args:
        parser: of a command, with all its options.
        sections: headings, each by the option that is the first below it.
    """
    common = next(group for group in parser._action_groups if group.title == "options")
    groups: list[argparse._ArgumentGroup] = []
    for group in [group for group in parser._action_groups if group is not common and group._group_actions]:
        actions, group._group_actions = group._group_actions, []
        groups.append(group)
        for action in actions:
            if action.dest in sections:
                groups.append(parser.add_argument_group(sections[action.dest]))
            groups[-1]._group_actions.append(action)
            if _kind(action) is None:  # a whole group of options as a file: --config is enough
                action.help = argparse.SUPPRESS
            action.metavar = _values(_kind(action)) or action.metavar
    common.title = "Of every command"
    for action in common._group_actions:
        if action.dest in _COMMON:
            action.help, action.metavar = _COMMON[action.dest], ""
    parser._action_groups = [*groups, common]


_COMMON = {
    "help": "Show this page and stop.",
    "print_config": "Show all options as they would be used, as YAML that --config takes, and stop.",
}
_FEW: Mapping[Any, tuple[str, ...]] = {bool: ("true", "false"), int: ("N",), float: ("X",)}


def _kind(action: argparse.Action) -> Any:
    """The type of one of the command's options; None for those that the parser brings."""
    return getattr(action, "_typehint", None)


def _values(kind: Any) -> str:
    """What may be given, where it is a number or one of few."""
    words = words_of(kind, _FEW, ())
    return f"{{{','.join(words)}}}" if len(words) > 1 else "".join(words)


def words_of(kind: Any, known: Mapping[Any, tuple[str, ...]], otherwise: tuple[str, ...]) -> list[str]:
    """The words for what an option of a type takes: its choices, and what is known of the parts of the type."""
    parts = typing.get_args(kind) if typing.get_origin(kind) in (types.UnionType, typing.Union) else (kind,)
    words: list[str] = []
    for part in parts:
        origin = typing.get_origin(part)
        words += map(str, typing.get_args(part)) if origin is Literal else known.get(origin or part, otherwise)
    return words


def _written(value: Any) -> str:
    """A default as it would be given."""
    if isinstance(value, list):
        return " ".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)
