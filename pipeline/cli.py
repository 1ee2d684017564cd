"""From the command line to a config dataclass, and from an error to a line and an exit code.

The only user of the argument parser. Exit codes: 0 done; 1 a cause outside the code; 2 a bad option;
3 stopped by a signal; 4 the environment (disk, memory). A bug keeps its traceback.
"""

import argparse
import dataclasses
import errno
import inspect
import itertools
import json
import logging
import signal
import sys
import typing
from collections.abc import Callable, Sequence, Set
from pathlib import Path
from typing import NoReturn, TypeVar

import jsonargparse

from pipeline.errors import PipelineError

CONFIGS = Path(__file__).resolve().parent / "configs"
Config = TypeVar("Config")

_ENVIRONMENT = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.ENOMEM)


class _Parser(jsonargparse.ArgumentParser):
    """Tells a bad option in one line instead of after the whole usage."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        print(f"{self.prog}: {' '.join(message.split())}; see {self.prog} --help", file=sys.stderr)
        sys.exit(2)


class _HelpFormatter(jsonargparse.DefaultHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Keeps the line breaks of the summary and the example."""


def run(
    config_class: type[Config],
    command: Callable[[Config], Path | None],
    argv: Sequence[str] | None,
    *,
    name: str,
    example: str,
    preset: str | None = None,
) -> NoReturn:
    """Runs one command: parses ``argv`` into ``config_class``, calls ``command``, exits with its code.

    Flags win over ``--config``, which takes a YAML file or the name of a preset in ``pipeline/configs``, and both win
    over ``preset``, which holds the defaults. The docstring of ``command`` is the
    description that ``--help`` shows. The path that the command returns is the only line on stdout.
    """
    logging.basicConfig(stream=sys.stderr, format="%(message)s")
    for project in ("pipeline", "app"):  # what libraries say below a warning is not for the user
        logging.getLogger(project).setLevel(logging.INFO)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # clean up as after Ctrl-C
    config = _parse(config_class, command.__doc__ or "", argv, name=name, example=example, preset=preset)
    sys.exit(guarded(name, lambda: command(config)))


def guarded(name: str, command: Callable[[], Path | None]) -> int:
    """Calls ``command``, prints what it returns on stdout or its error on stderr, and gives the exit code."""
    try:
        path = command()
    except PipelineError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"{name}: stopped; a folder without manifest.json is unfinished", file=sys.stderr)
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
) -> Config:
    jsonargparse.set_parsing_settings(docstring_parse_attribute_docstrings=True)
    parser = _Parser(
        prog=name,
        usage="%(prog)s [options]",
        description=f"{inspect.cleandoc(summary)}\n\nexample:\n  {example}",
        formatter_class=_HelpFormatter,
        allow_abbrev=False,  # else --conf would be --config for the parser but not for the presets
        default_config_files=[] if preset is None else [_preset_path(preset)],
    )
    arguments = list(sys.argv[1:] if argv is None else argv)
    if preset is None:
        known = "YAML file with any of the options below"
    else:
        known = f"YAML file with any of the options below, or a preset: {', '.join(presets())}; laid over {preset}"
    kinds = {f"--{name}": kind for name, kind in typing.get_type_hints(config_class).items()}
    arguments = _config_first(arguments, with_presets=preset is not None)
    arguments = _join_values(arguments, {flag for flag, kind in kinds.items() if kind == list[str]})
    arguments = _switch_on(arguments, {flag for flag, kind in kinds.items() if kind is bool})
    parser.add_argument("--config", action="config", help=known)
    parser.add_class_arguments(config_class)
    try:
        options = parser.instantiate(parser.parse_args(arguments))
    except UnicodeDecodeError as error:
        parser.error(f"--config: expected a YAML file in UTF-8; {error}")
    return config_class(**{field.name: options[field.name] for field in dataclasses.fields(config_class)})  # type: ignore[arg-type]


def _config_first(arguments: list[str], *, with_presets: bool) -> list[str]:
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
    if with_presets:
        configs = [_preset_path(name) for name in configs]
    return [*(f"--config={name}" for name in configs), *flags]


def _join_values(arguments: list[str], several: Set[str]) -> list[str]:
    """``--source a b --source c`` as ``--source=["a", "b", "c"]``, for the options that take several values."""
    values: dict[str, list[str]] = {}
    others = []
    taker: list[str] | None = None
    for argument in arguments:
        if argument.startswith("-"):
            name, equals, value = argument.partition("=")
            taker = values.setdefault(name, []) if name in several else None
            if taker is None:
                others.append(argument)
            elif equals:
                taker.append(value)
        elif taker is not None:
            taker.append(argument)
        else:
            others.append(argument)
    return [*others, *(f"{name}={json.dumps(given)}" for name, given in values.items())]


def _switch_on(arguments: list[str], switches: Set[str]) -> list[str]:
    """``--inspect`` alone as ``--inspect=true``."""
    following = itertools.chain(arguments[1:], ["-"])
    return [
        f"{argument}=true" if argument in switches and after.startswith("-") else argument
        for argument, after in zip(arguments, following, strict=False)
    ]


def _preset_path(name: str) -> str:
    return str(CONFIGS / f"{name}.yaml") if name in presets() and not Path(name).exists() else name
