"""From the command line to a config dataclass, and from an error to a line and an exit code.

The only user of the argument parser, but for how ``--help`` reads. Exit codes: 0 done; 1 a cause outside the code;
2 a bad option; 3 stopped by a signal; 4 the environment (disk, memory); 5 the folder to write is in use. A bug keeps
its traceback.
"""

import argparse
import dataclasses
import errno
import inspect
import itertools
import json
import logging
import os
import re
import signal
import sys
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import jsonargparse

from pipeline.errors import PipelineError, did_you_mean
from pipeline.helppage import EXIT_CODES, HelpFormatter, lay_out, words_of

CONFIGS = Path(__file__).resolve().parent / "configs"
Config = TypeVar("Config")

_ENVIRONMENT = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO, errno.ENOMEM)
# How the parser says that a value has the wrong type; what stands between names types as Python writes them.
_WRONG_VALUE = re.compile(r'Parser key "([\w.]+)":(?:.*Given value: ?|.*?Got value: ?)(.*)', re.DOTALL)
_GROUP = "expected a group of options"
# No option begins so.
_NEGATIVE = re.compile(r"-\.?\d")
_TYPES: Mapping[Any, tuple[str, ...]] = {
    bool: ("true", "false"),
    int: ("a whole number",),
    float: ("a number",),
    str: ("a text",),
    list: ("a list",),
    Path: ("a file",),
    types.NoneType: (),
}


class _Parser(jsonargparse.ArgumentParser):
    """Tells a bad option in one line of plain words instead of after the whole usage."""

    kinds: Mapping[str, Any] = types.MappingProxyType({})
    """Every option and its type."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        print(f"{self.prog}: {' '.join(_plain(message, self.kinds).split())}; see --help", file=sys.stderr)
        sys.exit(2)


def run(
    config_class: type[Config],
    command: Callable[[Config], Path | None],
    argv: Sequence[str] | None,
    *,
    name: str,
    example: str,
    preset: str | None = None,
    sections: Mapping[str, str] = types.MappingProxyType({}),
) -> NoReturn:
    """Runs one command: parses ``argv`` into ``config_class``, calls ``command``, exits with its code.

    Flags win over ``--config``, which takes a YAML file or the name of a preset in ``pipeline/configs``, and both win
    over ``preset``, which holds the defaults. The docstring of ``command`` is the description that ``--help`` shows,
    ``sections`` has its headings, each by the option that is the first below it. The path that the command returns is
    the only line on stdout.
    """
    logging.basicConfig(stream=sys.stderr, format="%(message)s")
    for project in ("pipeline", "app"):  # what libraries say below a warning is not for the user
        logging.getLogger(project).setLevel(logging.INFO)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # clean up as after Ctrl-C
    config = _parse(
        config_class, command.__doc__ or "", argv, name=name, example=example, preset=preset, sections=sections
    )
    sys.exit(guarded(name, lambda: command(config)))


def guarded(name: str, command: Callable[[], Path | None]) -> int:
    """Calls ``command``, prints what it returns on stdout or its error on stderr, and gives the exit code."""
    try:
        path = command()
    except PipelineError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print(f"{name}: stopped; a folder that has no manifest.json is unfinished", file=sys.stderr)
        return 3
    except MemoryError as error:
        print(
            f"{name}: out of memory; {str(error) or 'close other programs, or lower the batch sizes'}", file=sys.stderr
        )
        return 4
    except OSError as error:
        if error.errno not in _ENVIRONMENT:
            raise
        print(
            f"{name}: {error.filename or 'writing'}: {error.strerror}; free some space and run again", file=sys.stderr
        )
        return 4
    if path is not None:
        print(path)
    return 0


def presets() -> list[str]:
    """Names of the presets that come with the project."""
    return sorted(path.stem for path in CONFIGS.glob("*.yaml"))


def _parse(
    config_class: type[Config],
    summary: str,
    argv: Sequence[str] | None,
    *,
    name: str,
    example: str,
    preset: str | None,
    sections: Mapping[str, str] = types.MappingProxyType({}),
) -> Config:
    jsonargparse.set_parsing_settings(docstring_parse_attribute_docstrings=True)
    parser = _Parser(
        prog=name,
        usage=" ".join(["%(prog)s", *_needed(config_class), "[options]"]),
        description=f"{inspect.cleandoc(summary)}\n\nexample:\n  {example}",
        epilog=EXIT_CODES,
        formatter_class=HelpFormatter,
        allow_abbrev=False,  # else --conf would be --config for the parser but not for the presets
        default_config_files=[] if preset is None else [_preset_path(preset)],
    )
    arguments = list(sys.argv[1:] if argv is None else argv)
    if preset is None:
        known = "YAML file with any of these options."
    else:
        known = f"YAML file with any of these options, or a preset: {', '.join(presets())}; laid over {preset}."
    parser.kinds = {"config": Path, **dict(_kinds(config_class))}
    several = {f"--{name}" for name, kind in parser.kinds.items() if kind == list[str] and "." not in name}
    arguments = _config_first(arguments, parser, with_presets=preset is not None)
    arguments = _join_values(arguments, several)
    arguments = _switch_on(arguments, {f"--{name}" for name, kind in parser.kinds.items() if kind is bool})
    parser.add_argument("--config", action="config", help=known)
    parser.add_class_arguments(config_class)
    _show_several(parser, several)
    lay_out(parser, sections)
    try:
        options = parser.parse_args(arguments)
        _check_groups(options, parser)
        options = parser.instantiate(options)
    except UnicodeDecodeError as error:
        parser.error(f"--config: expected a YAML file in UTF-8; {error}")
    return config_class(**{field.name: options[field.name] for field in dataclasses.fields(config_class)})  # type: ignore[arg-type]


def _needed(config_class: type) -> list[str]:
    """The options that have to be given, as the usage shows them."""
    return [
        f"--{field.name} {field.name.upper()}"
        for field in dataclasses.fields(config_class)
        if field.default is field.default_factory is dataclasses.MISSING
    ]


def _kinds(config_class: type, group: str = "") -> Iterator[tuple[str, Any]]:
    """Every option and its type; those of a group as ``group.option``."""
    for name, kind in typing.get_type_hints(config_class).items():
        yield f"{group}{name}", kind
        if dataclasses.is_dataclass(kind):
            yield from _kinds(typing.cast(type, kind), f"{group}{name}.")


def _show_several(parser: argparse.ArgumentParser, several: Set[str]) -> None:
    """Shows in the help that an option takes several values, and how they are divided."""
    for action in parser._actions:
        name = action.option_strings[0]
        if name in several:
            value = action.dest.upper()
            # Without --name+, which a list of values has no need of.
            action.option_strings, action.metavar = [name], f"{value} [{value} ...]"
            action.help = f"{action.help} Several are divided by spaces."


def _check_groups(options: Any, parser: _Parser) -> None:
    """Refuses a value where a group of options belongs, which the parser itself takes from a file."""
    for name, kind in parser.kinds.items():
        if dataclasses.is_dataclass(kind) and not isinstance(value := options[name], jsonargparse.Namespace):
            parser.error(f"--config: {name}: {_GROUP}, got {'null' if value is None else value}")


def _config_first(arguments: list[str], parser: _Parser, *, with_presets: bool) -> list[str]:
    """``--config`` before all flags, so that they win; names of presets become paths."""
    configs, flags = [], []
    rest = iter(arguments)
    for argument in rest:
        if argument.startswith("--config="):
            configs.append(argument.removeprefix("--config="))
        elif argument == "--config" and (value := next(rest, None)) is not None:
            configs.append(value)
        else:
            flags.append(argument)
    known = presets() if with_presets else []
    for name in configs:
        if not os.path.exists(name) and name not in known:  # noqa: PTH110 - no error where the name cannot be
            names = f", or one of {', '.join(known)}" if known else ""
            parser.error(f"--config {name}: expected a YAML file{names}; no such file{did_you_mean(name, known)}")
    if with_presets:
        configs = [_preset_path(name) for name in configs]
    return [*(f"--config={name}" for name in configs), *flags]


def _join_values(arguments: list[str], several: Set[str]) -> list[str]:
    """``--source a b --source c`` as ``--source=["a", "b", "c"]``, for the options that take several values.

    ``--labels -1=Bad`` becomes ``--labels=-1=Bad``: the parser takes what begins with a minus for an option.
    """
    values: dict[str, list[str]] = {}
    others: list[str] = []
    taker: list[str] | None = None
    for argument in arguments:
        if _is_option(argument):
            name, equals, value = argument.partition("=")
            taker = values.setdefault(name, []) if name in several else None
            if taker is None:
                others.append(argument)
            elif equals:
                taker.append(value)
        elif taker is not None:
            taker.append(argument)
        elif argument.startswith("-") and others and _is_option(others[-1]) and "=" not in others[-1]:
            others[-1] += f"={argument}"
        else:
            others.append(argument)
    return [*others, *(f"{name}={json.dumps(given)}" for name, given in values.items())]


def _switch_on(arguments: list[str], switches: Set[str]) -> list[str]:
    """``--inspect`` alone as ``--inspect=true``."""
    following = itertools.chain(arguments[1:], ["-"])
    return [
        f"{argument}=true" if argument in switches and _is_option(after) else argument
        for argument, after in zip(arguments, following, strict=False)
    ]


def _is_option(argument: str) -> bool:
    return argument.startswith("-") and not _NEGATIVE.match(argument)


def _preset_path(name: str) -> str:
    return str(CONFIGS / f"{name}.yaml") if name in presets() and not Path(name).exists() else name


def _plain(message: str, kinds: Mapping[str, Any]) -> str:
    """The parser's message in plain words; one that is not known here stays nearly as it is.

    Args:
        message: what the parser says.
        kinds: every option and its type.
    """
    # What is wrong within a group comes after what the group has to say of it.
    message = message[max(0, message.rfind('Parser key "')) :]
    if found := _WRONG_VALUE.match(message):
        got = " ".join(found[2].split())[:60]
        return f"--{found[1]}: expected {_expected(kinds.get(found[1]))}, got {got!r}"
    if found := re.match(r"Parser key \"([\w.]+)\": Unable to load config \"(.*)\"", message, re.DOTALL):
        return f"--{found[1]}: {_GROUP}, got {found[2][:60]!r}"
    if found := re.match(r"argument --([\w.]+): expected one argument", message):
        return f"--{found[1]}: expected {_expected(kinds.get(found[1]))}, got none"
    if found := re.match(r"the following arguments are required: (.+)", message):
        return f"{', '.join(f'--{name}' for name in found[1].split(', '))}: expected a value, got none"
    if found := re.match(r"unrecognized arguments: (.+)", message, re.DOTALL):
        unknown = [word.partition("=")[0] for word in found[1].split() if word.startswith("-")]
        if not unknown:
            return f"expected options alone, got {found[1][:60]!r}"
        return f"{unknown[0]}: no such option{_meant(unknown[0], kinds, '--')}"
    if found := re.match(r"(?:Group '([\w.]+)' does not accept option|Option) '([^']+)'", message):
        name = f"{found[1]}.{found[2]}" if found[1] else found[2]
        return f"--config: no such option {name!r}{_meant(name, kinds)}"
    if found := re.match(r"Unexpected config: ?(.*)", message, re.DOTALL):
        return f"--config: expected a YAML file with lines such as seed: 1, got {found[1][:60]!r}"
    message = message.replace("Problems parsing config:", "--config: expected YAML;")
    return re.sub(r'^Parser key "([\w.]+)":', r"--\1:", message)


def _expected(kind: Any) -> str:
    """What an option of this type takes: its choices, or what kind of value."""
    words = words_of(kind, _TYPES, ("a value",))
    return " or ".join(filter(None, (", ".join(words[:-1]), words[-1])))


def _meant(unknown: str, kinds: Mapping[str, Any], dashes: str = "") -> str:
    """The option that is written nearly so, as a question in brackets; nothing where there is none."""
    names = [name for name, kind in kinds.items() if not dataclasses.is_dataclass(kind)]
    return did_you_mean(unknown.lstrip("-").replace("-", "_").lower(), names, dashes)
