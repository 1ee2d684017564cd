"""From a checkpoint that needs remote code to a native model folder, shard by shard, so that a kill costs one shard.

``OUT.parts/`` holds ``begun.json``, what the work was begun with; ``finished.jsonl``, a line for each shard that is
whole and on the disk; and ``model/``, which becomes ``OUT`` when all is in it. A shard without its line does not count.
"""

import contextlib
import json
import logging
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tqdm import tqdm
from transformers import AutoModelForCausalLM, GenerationConfig

from pipeline.artifacts import dump_json, dump_jsonl, read_json, refuse_changes, sha256_of, share, sync, write_text
from pipeline.errors import PipelineError, ShortageError
from pipeline.locking import LOCK, Lock
from pipeline.model.base import BaseModel
from pipeline.model.loading import load_tokenizer, quiet
from pipeline.model.originals import CONVERTED_FROM, Move, Original, recognise
from pipeline.model.sentencepiece_bpe import SentencepieceBpe
from pipeline.model.shortage import of_the_disk
from pipeline.model.weight_files import opened, weight_files

log = logging.getLogger("pipeline.convert")

SOURCE = "source.json"
"""In a finished folder: what it was converted from, by sha256."""

_BEGUN, _FINISHED, _MODEL, _SHARD = "begun.json", "finished.jsonl", "model", "shard"
# Another number where the same source would become other bytes.
_VERSION = 1
_SHARD_BYTES = 2_000_000_000
_ROWS = 8_192  # of the output layer at once
_TOKENIZER = "tokenizer.model"
_SAMPLING = ("do_sample", "temperature", "top_k", "top_p", "repetition_penalty")


@dataclass(frozen=True)
class _Step:
    """One tensor of the source, and what becomes of it."""

    name: str
    move: Move
    rows: tuple[int, ...]
    shape: tuple[int, ...]
    dtype: torch.dtype

    @property
    def size(self) -> int:
        """In bytes."""
        return self.dtype.itemsize * torch.Size(self.shape).numel()

    @property
    def results(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Names and shapes of what is written."""
        for target, rows in zip(self.move.targets, self.rows, strict=True):
            yield target, (rows, *self.shape[1:])


@dataclass(frozen=True)
class _Shard:
    """A file to write, and the file with all that it is made of."""

    name: str
    file: str
    steps: Sequence[_Step]

    @property
    def size(self) -> int:
        """Of its tensors, in bytes."""
        return sum(step.size for step in self.steps)


def convert_checkpoint(source: Path, out: Path) -> Path:
    """Writes the native model of a checkpoint, whole or not at all; goes on with what a killed run has left.

    Raises:
        PipelineError: the source is none that can be converted, or damaged; or out is something else.
        ShortageError: the disk is full.
    """
    original = recognise(source)
    files, index = weight_files(source)
    _refuse_inside(source, out)
    place = out.with_name(f"{out.name}.parts")
    fingerprint = {"format": _VERSION, CONVERTED_FROM: original.family, **_hashes(source, [*files, *index])}
    if os.path.lexists(out):
        _demand_finished(out, fingerprint)
        _tidy(place)
        log.info("%s: is finished already", out)
        return out
    pieces = _pieces(source, original)
    shards = _plan(source, files, original)
    place.mkdir(parents=True, exist_ok=True)
    with Lock(place, "is converting into it") as lock, _told_of_the_disk(out):
        lock.take()
        _begin(place, fingerprint)
        folder = place / _MODEL
        folder.mkdir(exist_ok=True)
        _write_small(source, original, pieces, folder, shards)
        _write_weights(source, place, shards)
        _write_index(folder, shards)
        write_text(folder / SOURCE, dump_json(fingerprint))
        share(folder)
        for path in folder.iterdir():
            sync(path)
        sync(folder)
        if os.path.lexists(out):
            raise PipelineError(f"{out}: expected to be free as before; move it away and run again")
        folder.rename(out)
        sync(out.absolute().parent)
        _tidy(place)
    return out


def _refuse_inside(source: Path, out: Path) -> None:
    if out.absolute().resolve().is_relative_to(source.resolve()):
        raise PipelineError(f"{out}: expected a folder outside of {source}, which stays as it is; choose another --out")


def _hashes(source: Path, needed: Sequence[str]) -> dict[str, str]:
    """Every file of the source that decides the result, with its sha256; a bar shows how far the reading is."""
    names = ["config.json", _TOKENIZER, *needed]
    names += [name for name in ("tokenizer_config.json", "generation_config.json") if (source / name).is_file()]
    found = {}
    try:
        with _bar(sum((source / name).stat().st_size for name in names), "reading") as bar:
            for name in names:
                found[name] = sha256_of(source / name)
                bar.update((source / name).stat().st_size)
    except OSError as error:
        raise PipelineError(
            f"{error.filename}: expected a file of the checkpoint, got none that can be read: {error.strerror}; "
            "download it"
        ) from error
    return found


def _demand_finished(out: Path, fingerprint: Mapping[str, Any]) -> None:
    """Makes sure that what is there under the name is made of this very source."""
    if (out / SOURCE).is_file() and read_json(out / SOURCE) == fingerprint:
        return
    raise PipelineError(f"{out}: already exists, and is not made of this source; choose another --out, or remove it")


def _begin(place: Path, fingerprint: Mapping[str, Any]) -> None:
    """Notes what the work is begun with, or makes sure that it goes on with the same."""
    if (place / _BEGUN).is_file():
        before = read_json(place / _BEGUN)
        refuse_changes(place, before if isinstance(before, dict) else {}, fingerprint)
        for path in place.iterdir():  # what a kill has left half-written
            if path.is_file() and path.name not in (_BEGUN, _FINISHED, LOCK):
                path.unlink()
        return
    others = [path.name for path in place.iterdir() if not path.name.startswith(".")]
    if others:
        raise PipelineError(
            f"{place}: expected parts of a conversion, got a folder without {_BEGUN}; choose another --out"
        )
    write_text(place / _BEGUN, dump_json(fingerprint))
    sync(place)


def _plan(source: Path, files: Sequence[str], original: Original) -> list[_Shard]:
    """The shards to write, none of more than 2 GB unless a tensor is, each of one file of the source.

    Raises:
        PipelineError: the tensors are not those of the family, or not those that the native model needs.
    """
    groups: list[tuple[str, list[_Step]]] = []
    for file in files:
        steps = list(_steps(source / file, original))
        for i, step in enumerate(steps):
            if i == 0 or sum(before.size for before in groups[-1][1]) + step.size > _SHARD_BYTES:
                groups.append((file, []))
            groups[-1][1].append(step)
    _demand_all(source, original, [step for _, steps in groups for step in steps])
    number = len(groups)
    return [
        _Shard(f"model-{i:05d}-of-{number:05d}.safetensors", file, steps)
        for i, (file, steps) in enumerate(groups, start=1)
    ]


def _steps(path: Path, original: Original) -> Iterator[_Step]:
    with opened(path) as tensors:
        for name, tensor in tensors.items():
            try:
                move = original.move(name)
            except KeyError as error:
                old = "transformer.layers." in name or name.startswith("transformer.word_embeddings")
                known = "; ChatGLM-6B of the first generation has such" if old else ""
                raise PipelineError(
                    f"{path}: expected the tensors of {original.family}, got {name}{known}; take the published "
                    "checkpoint"
                ) from error
            if move is None:
                continue
            rows = move.rows or (tensor.shape[0] if tensor.ndim else 0,)
            if not tensor.is_floating_point() or sum(rows) != (tensor.shape[0] if tensor.ndim else -1):
                got = f"{str(tensor.dtype).removeprefix('torch.')} of shape {tuple(tensor.shape)}"
                raise PipelineError(
                    f"{path}: expected {name} with {sum(rows)} rows of plain numbers, got {got}; config.json is "
                    "another model's, or the weights are quantised"
                )
            yield _Step(name, move, rows, tuple(tensor.shape), tensor.dtype)


def _demand_all(source: Path, original: Original, steps: Iterable[_Step]) -> None:
    """Makes sure that the native model finds each of its tensors, in its shape."""
    with quiet(), torch.device("meta"):
        model = AutoModelForCausalLM.from_config(original.config, trust_remote_code=False)
    needed = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    for step in steps:
        for name, shape in step.results:
            if needed.get(name) != shape:
                what = f"shape {needed[name]}" if name in needed else "no such tensor, or no second one"
                raise PipelineError(
                    f"{source}: expected {what} for {name}, got {shape} from {step.name}; config.json is another "
                    "model's"
                )
            del needed[name]
    if needed:
        raise PipelineError(
            f"{source}: expected weights for every layer; {len(needed)} are missing, {next(iter(needed))} among them; "
            "download all of the checkpoint"
        )


def _pieces(source: Path, original: Original) -> SentencepieceBpe:
    """The tokenizer of the source, once it is known to belong to it."""
    pieces = SentencepieceBpe(source / _TOKENIZER)
    pieces.demand(original.pieces)
    room = original.config.vocab_size - len(original.commands)
    if len(pieces) > room:
        raise PipelineError(
            f"{source / _TOKENIZER}: expected at most {room} pieces, as many as the model has room for, got "
            f"{len(pieces)}; it is another model's tokenizer, take its own"
        )
    for name, expected in original.ids.items():
        behind = original.commands.index(name)
        if len(pieces) + behind != expected:
            raise PipelineError(
                f"{source / _TOKENIZER}: expected {expected - behind:,} pieces, so that {name} is {expected}, got "
                f"{len(pieces):,}; it is another model's tokenizer, take its own"
            )
    return pieces


def _write_small(
    source: Path, original: Original, pieces: SentencepieceBpe, folder: Path, shards: Sequence[_Shard]
) -> None:
    """Writes config and tokenizer, and makes sure that the tokenizer, loaded again, gives what sentencepiece gives."""
    for path in folder.iterdir():  # what a kill has left half-written
        if path.suffix != ".safetensors":
            path.unlink()
    config = original.config
    config.dtype = next(step.dtype for shard in shards for step in shard.steps if len(step.shape) > 1)
    config.architectures = ["LlamaForCausalLM" if config.model_type == "llama" else "GlmForCausalLM"]
    setattr(config, CONVERTED_FROM, original.family)
    with quiet():
        config.save_pretrained(folder)
        _generation(source, config).save_pretrained(folder)
    pieces.convert(original.commands, original.before).save_pretrained(folder)
    wrong = pieces.check(load_tokenizer(BaseModel(str(source), str(folder), "")))
    if wrong:
        log.warning("%s: %d of %d pieces are encoded otherwise than sentencepiece does", source, wrong, len(pieces))


def _generation(source: Path, config: Any) -> GenerationConfig:
    """How the model answers unless told otherwise, as far as the source says."""
    path = source / "generation_config.json"
    before = read_json(path) if path.is_file() else {}
    sampling = {key: before[key] for key in _SAMPLING if key in before} if isinstance(before, dict) else {}
    ends = {key: getattr(config, key) for key in ("bos_token_id", "eos_token_id", "pad_token_id")}
    return GenerationConfig(**ends, **sampling)


def _write_weights(source: Path, place: Path, shards: Sequence[_Shard]) -> None:
    """Writes the shards that are not there yet."""
    done = _finished(place, {shard.name for shard in shards})
    todo = [shard for shard in shards if shard.name not in done]
    size = sum(shard.size for shard in shards)
    if len(todo) < len(shards):
        log.info("%d of %d shards are done already", len(shards) - len(todo), len(shards))
    needed, free = sum(shard.size for shard in todo), shutil.disk_usage(place).free
    if free < needed:
        raise ShortageError(
            f"{place}: expected {needed / 1e6:,.1f} MB of free disk for the weights, got {free / 1e6:,.1f} MB; "
            "free some and run again"
        )
    with _bar(size, "converting", size - needed) as bar:
        for shard in todo:
            temporary, path = place / _SHARD, place / _MODEL / shard.name
            # Opened anew for each shard: what was mapped for the last one is let go of.
            with opened(source / shard.file) as tensors:
                save_file(_converted(shard, tensors), temporary, metadata={"format": "pt"})
            sync(temporary)
            line = {"file": shard.name, "size": temporary.stat().st_size, "sha256": sha256_of(temporary)}
            temporary.replace(path)
            sync(path.parent)
            with (place / _FINISHED).open("a", encoding="utf-8") as file:
                file.writelines(dump_jsonl([line]))
                file.flush()
                os.fsync(file.fileno())
            bar.update(shard.size)


def _converted(shard: _Shard, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = {}
    for step in shard.steps:
        tensor = tensors[step.name].contiguous()
        if step.move.unit_rows:
            tensor = _unit_rows(tensor)
        found.update(zip(step.move.targets, torch.split(tensor, list(step.rows)), strict=True))
    return found


def _unit_rows(weight: torch.Tensor) -> torch.Tensor:
    """Each row by its Euclidean norm, computed in fp32: what Baichuan2 does with its output layer in every pass."""
    result = torch.empty_like(weight)
    for start in range(0, weight.shape[0], _ROWS):
        rows = weight[start : start + _ROWS].float()
        result[start : start + _ROWS] = torch.nn.functional.normalize(rows, dim=1)
    return result


def _finished(place: Path, names: set[str]) -> set[str]:
    """The shards that are whole; others will be written again."""
    lines = []
    with contextlib.suppress(OSError):
        lines = (place / _FINISHED).read_text(encoding="utf-8", errors="replace").split("\n")
    whole = {}
    for text in lines:
        # A line may be cut.
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
            line = json.loads(text)
            path = place / _MODEL / line["file"]
            if line["file"] in names and path.stat().st_size == line["size"] and sha256_of(path) == line["sha256"]:
                whole[line["file"]] = line
            elif line["file"] in names:
                log.warning("%s: damaged, it is done again", path)
    write_text(place / _FINISHED, dump_jsonl(whole.values()))
    return set(whole)


def _write_index(folder: Path, shards: Sequence[_Shard]) -> None:
    where = {name: shard.name for shard in shards for step in shard.steps for name, _ in step.results}
    index = {"metadata": {"total_size": sum(shard.size for shard in shards)}, "weight_map": dict(sorted(where.items()))}
    write_text(folder / "model.safetensors.index.json", dump_json(index))


def _tidy(place: Path) -> None:
    """Removes what was beside the model; nothing where anything else is there too."""
    left = [path.name for path in place.iterdir()] if place.is_dir() else []
    if all(name in (_BEGUN, _FINISHED, _SHARD) or name.startswith(".") for name in left):
        shutil.rmtree(place, ignore_errors=True)


@contextlib.contextmanager
def _told_of_the_disk(out: Path) -> Iterator[None]:
    """A block that writes; what fails for want of disk is told in one line, whatever the libraries make of it."""
    try:
        yield
    except Exception as error:  # the tokenizers library raises plain Exception for a file it cannot write
        reason = None if isinstance(error, PipelineError) else of_the_disk(error)
        if reason is None:
            raise
        raise ShortageError(
            f"{getattr(error, 'filename', None) or out}: {reason}; shards that are finished are kept, so free some "
            "disk and run the same command again"
        ) from error


def _bar(total: int, what: str, done: int = 0) -> "tqdm[Any]":
    return tqdm(total=total, initial=done, desc=what, unit="B", unit_scale=True, disable=None)
