"""The command ``python -m pipeline.convert``: a checkpoint that needs remote code, as a native model folder."""

import logging
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from pipeline import cli
from pipeline.artifacts import refuse_existing
from pipeline.errors import PipelineError, StoppedError

log = logging.getLogger("pipeline.convert")


@dataclass(frozen=True)
class ConvertConfig:
    """What to convert, and where to."""

    source: str
    """Folder of a downloaded checkpoint, also without --source; it is not changed."""
    out: str | None = None
    """Folder to write; if none is given, that of the source with -native behind its name."""


def convert(config: ConvertConfig) -> Path:
    """Converts Baichuan2-7B or ChatGLM3-6B, which transformers reads with remote code alone, into a native model.

    Baichuan2-7B(-Chat, -Base) becomes a Llama, ChatGLM3-6B(-Base, -32k, -128k) a Glm, with a fast tokenizer; the folder
    is then one for --base_model. Weights keep their numbers and are computed with as before; no Python file of the
    checkpoint is run or copied. Source weights may be safetensors or .bin, which is read without running what it
    holds. Look-alikes are refused by name.

    It needs as much disk as the weights are large, and memory for 2 GB of them. It can be stopped or killed at any
    moment: the same command goes on with the shards that are missing, and gives the same bytes.
    """
    source = Path(config.source)
    # Absolute, because what is written beside it is called by its name, and "." has none.
    out = Path(config.out if config.out is not None else f"{source.resolve()}-native").absolute()
    if out.name in ("", ".."):
        raise PipelineError(f"--out {config.out or out}: expected the name of a new folder; got none, give one")
    # Before PyTorch is loaded, which takes ten seconds.
    if not source.is_dir():
        got = "a file" if source.is_file() else "no such folder"
        raise PipelineError(f"{source}: expected the folder of a checkpoint, got {got}; download it first")
    if not (source / "config.json").is_file():
        raise PipelineError(f"{source}: expected a checkpoint with config.json, got none; download all of it")
    if not os.path.lexists(out) and not out.with_name(f"{out.name}.parts").exists():
        refuse_existing(out)
    log.info("loading PyTorch and transformers")
    from pipeline.model.conversion import convert_checkpoint

    try:
        return convert_checkpoint(source, out)
    except KeyboardInterrupt as error:
        raise StoppedError(f"{out}: stopped; go on with the same command") from error


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Runs the command line; exits with its code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments and not arguments[0].startswith("-"):
        arguments.insert(0, "--source")
    cli.run(
        ConvertConfig,
        convert,
        arguments,
        name="python -m pipeline.convert",
        example="python -m pipeline.convert models/Baichuan2-7B-Chat --out models/baichuan2-7b-chat",
    )


if __name__ == "__main__":
    main()
