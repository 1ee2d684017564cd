"""The faults. Each function does some to trainings on a bench; what came of each try is True where all was well.

Well means: the training, resumed, comes out with the bytes of one that nothing has happened to; where it has to end,
it does so with the right exit code, one line on stderr and no traceback.
"""

import contextlib
import errno
import os
import pkgutil
import random
import re
import resource
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.faults.bench import Bench, wait
from pipeline.artifacts import CHECKPOINTS
from pipeline.errors import BusyError, PipelineError, ShortageError, StoppedError

KILLED = 137
_AT_MOST = 10.0  # seconds from a signal to the end
SIGNALS = (signal.SIGINT, signal.SIGTERM)
DAMAGES = ("missing", "empty", "half", "flipped", "extra")
SHORTAGES = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
ENDS = (
    "pipeline.model.checkpoints.Checkpoints.keep_best",
    "pipeline.model.training._check_reload",
    "pipeline.train.write_manifest",
    "pipeline.train._tidy",
    "pipeline.locking.Lock.remove",
)
# What the runs of the bench cannot be gone on with, and how the refusal names it.
CHANGES = {
    "lora.r": ("--lora.r", "8"),
    "lora.alpha": ("--lora.alpha", "64"),
    "lora.dropout": ("--lora.dropout", "0.2"),
    "lora.target_modules": ("--lora.target_modules", "[q_proj]"),
    "learning_rate": ("--learning_rate", "0.2"),
    "warmup": ("--warmup", "0.3"),
    "batch_size": ("--batch_size", "8"),
    "micro_batch_size": ("--micro_batch_size", "4"),
    "max_steps": ("--max_steps", "8"),
    "evaluations": ("--evaluations", "3"),
    "seed": ("--seed", "7"),
    "max_length": ("--max_length", "150"),
    "dtype": ("--precision", "bf16"),
    "dataset": ("--dataset", "prepared-other"),
    "base_model": ("--base_model", "model-other"),
}


def kills(bench: Bench, tries: int, seed: int = 0, most: int = 3) -> Iterator[bool]:
    """``kill -9`` at random moments, once to ``most`` times in one training."""
    draw = random.Random(seed)  # noqa: S311 - no secret
    began = time.monotonic()
    bench.train("timed")
    length = time.monotonic() - began
    shutil.rmtree(bench.folder / "timed")
    for number in range(tries):
        run = f"kill-{seed}-{number}"
        while not _killed(bench, run, draw.uniform(0, length)):  # it was finished already: again
            shutil.rmtree(bench.folder / run)
        for _ in range(draw.randint(0, most - 1)):
            _killed(bench, run, draw.uniform(0, length))
        yield _well(bench, run)


def _killed(bench: Bench, run: str, seconds: float) -> bool:
    """Starts a training and kills it after so many seconds; whether it was still there."""
    child = bench.start(run)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    return wait(child) == -signal.SIGKILL


def kills_between(bench: Bench, points: Sequence[int], *, late: bool = False) -> Iterator[bool]:
    """A death at every moment in which a name or a file is handed to the disk, from the second checkpoint on.

    ``points`` counts them, from 1; ``late`` dies behind the call instead of in front of it.
    """
    for point in points:
        run = f"point-{point}-{late}"
        died = bench.train(run, sabotage=partial(_die_at, point, late)) == KILLED
        yield died and _well(bench, run)


def deaths(bench: Bench, places: Sequence[str] = ENDS) -> Iterator[bool]:
    """A death in front of a call of the function of this name: what comes behind the last checkpoint."""
    for place in places:
        run = f"death-{place}"
        died = bench.train(run, sabotage=partial(_before, place, lambda _: os._exit(KILLED))) == KILLED
        yield died and _well(bench, run)


def points(bench: Bench) -> int:
    """How many such moments there are."""
    calls = bench.folder / "calls"

    def count() -> None:
        def note(_: int) -> None:
            with calls.open("a") as file:
                file.write(".")

        _at_disk_calls(note)

    bench.train("counted", sabotage=count)
    return len(calls.read_text())


def damages(bench: Bench, kinds: Sequence[str] = DAMAGES, names: Sequence[str] | None = None) -> Iterator[bool]:
    """Every file of the last checkpoint missing, empty, cut in half, with a flipped bit; one file more."""
    _stopped(bench, "damaged")
    last = max((bench.folder / "damaged" / CHECKPOINTS).glob("checkpoint-*"), key=_number)
    for kind in kinds:
        for name in sorted(names or [p.relative_to(last).as_posix() for p in last.rglob("*") if p.is_file()]):
            run = f"damage-{kind}-{name.replace('/', '-')}"
            shutil.copytree(bench.folder / "damaged", bench.folder / run)
            place = bench.folder / run / CHECKPOINTS / last.name
            damage(place / name, kind)
            well = _well(bench, run, keep=True)
            said = bench.said(run)
            named = f"{place / name}{'.more' * (kind == 'extra')}: " in said
            shutil.rmtree(bench.folder / run)
            yield well and named and "going back to the checkpoint before it" in said


def damage(path: Path, kind: str) -> None:
    """Damages a file in one of the ways of ``DAMAGES``."""
    content = bytearray(path.read_bytes())
    match kind:
        case "missing":
            path.unlink()
        case "empty":
            path.write_bytes(b"")
        case "half":
            path.write_bytes(content[: len(content) // 2])
        case "flipped":
            content[len(content) // 2] ^= 1
            path.write_bytes(content)
        case "extra":
            path.with_name(f"{path.name}.more").write_bytes(content)


def signals(bench: Bench, moments: Sequence[tuple[str, int]], number: signal.Signals) -> Iterator[bool]:
    """A signal while it trains, validates or saves: exit 3 within 10 s, a checkpoint, one line that says how to go on.

    ``moments`` are names of ``_MOMENTS`` with the how-manieth time it comes to that.
    """
    for moment, count in moments:
        run = f"signal-{number}-{moment}-{count}"
        sent = bench.folder / f"{run}.sent"
        code = bench.train(run, sabotage=partial(_signal_at, moment, count, [number], sent))
        quick = time.time() - sent.stat().st_mtime < _AT_MOST
        told = _told(bench, run, "stopped after step", "--resume")
        yield code == StoppedError.exit_code and quick and told and _well(bench, run)


def two_signals(bench: Bench, moments: Sequence[tuple[str, int]]) -> Iterator[bool]:
    """Two signals, one right behind the other: it ends at once, with exit 3."""
    for moment, count in moments:
        run = f"signals-{moment}-{count}"
        sent = bench.folder / f"{run}.sent"
        code = bench.train(run, sabotage=partial(_signal_at, moment, count, SIGNALS, sent))
        yield code == StoppedError.exit_code and "stopped at once" in bench.said(run) and _well(bench, run)


def full_disks(bench: Bench, points: Sequence[int], number: int = errno.ENOSPC) -> Iterator[bool]:
    """A disk that is full from the K-th time on that a file is handed to it: exit 4, one line that names the bytes."""
    for point in points:
        run = f"full-{number}-{point}"

        code = bench.train(run, sabotage=partial(_fail_from, point, number))
        told = _told(bench, run, os.strerror(number), "--resume" if "a checkpoint needs" in bench.said(run) else "")
        yield code == ShortageError.exit_code and told and _whole(bench, run) and _well(bench, run)


def small_files(bench: Bench, sizes: Sequence[int], saved: int = 1) -> Iterator[bool]:
    """Files that cannot grow beyond some bytes, once ``saved`` checkpoints are written: exit 4, one line."""
    for size in sizes:
        run = f"small-{size}-{saved}"
        code = bench.train(run, sabotage=partial(_limit_files, size, saved))
        told = _told(bench, run, "a checkpoint needs", "MB are free", "--resume")
        yield code == ShortageError.exit_code and told and _whole(bench, run) and _well(bench, run)


def no_memory(bench: Bench, kinds: Sequence[str] = ("python", "limit", "cuda")) -> Iterator[bool]:
    """Memory that runs out: in Python, in PyTorch's allocator under a real limit, on a GPU that is not there."""
    ways = {"python": _no_memory, "limit": _beyond_the_limit, "cuda": _no_gpu_memory}
    for kind in kinds:
        run = f"memory-{kind}"
        code = bench.train(run, sabotage=partial(_at_fifth_batch, ways[kind]))
        told = _told(bench, run, "out of memory", "do not fit; lower")
        yield code == ShortageError.exit_code and told and _well(bench, run)


def changes(bench: Bench, names: Sequence[str] = tuple(CHANGES)) -> Iterator[bool]:
    """Something else than the run was begun with: refused, exit 1, named with both values; paths alone do not count."""
    _stopped(bench, "changed")
    for name in names:
        option, value = CHANGES[name]
        code = bench.train("changed", option, str(bench.folder / value) if value.endswith("-other") else value)
        named = re.search(rf"expected what it was begun with, got .*\b{name} \S.* -> ", bench.said("changed"))
        yield code == PipelineError.exit_code and named is not None and _told(bench, "changed")
    same = ("--dataset", bench.folder / "prepared-same", "--base_model", bench.folder / "model-same")
    weights = "adapter_model.safetensors"  # the files beside it hold the model's path
    code = bench.train("changed", *map(str, same))
    yield code == 0 and bench.result("changed")["adapter"][weights] == bench.reference()["adapter"][weights]
    shutil.rmtree(bench.folder / "changed")


def finished(bench: Bench, tries: int) -> Iterator[bool]:
    """A finished run, resumed: exit 0, no byte and no time of a file is another."""
    bench.reference()
    for _ in range(tries):
        before = _stamps(bench.folder / "reference")
        code = bench.train("reference")
        yield (
            code == 0
            and _stamps(bench.folder / "reference") == before
            and "is finished already" in bench.said("reference")
        )


def crowds(bench: Bench, tries: int, size: int) -> Iterator[bool]:
    """Several trainings into one folder at the same time: one wins, the others exit with 5."""
    for number in range(tries):
        run = f"crowd-{number}"
        children = [bench.start(run) for _ in range(size)]
        codes = sorted(wait(child) for child in children)
        same = bench.result(run) == bench.reference()
        yield codes == [0] + [BusyError.exit_code] * (size - 1) and same
        shutil.rmtree(bench.folder / run)


def stale_locks(bench: Bench, tries: int) -> Iterator[bool]:
    """A lock whose holder was killed: it holds nobody up."""
    for number in range(tries):
        run = f"lock-{number}"
        bench.train(run, sabotage=lambda: _behind_saves(lambda _: os.kill(os.getpid(), signal.SIGKILL)))
        yield (bench.folder / run / ".lock").exists() and _well(bench, run)


def repeats(bench: Bench, tries: int) -> Iterator[bool]:
    """The same training again, from the beginning: the same bytes."""
    for number in range(tries):
        yield _well(bench, f"repeat-{number}")


# --- what is done to a child


def _before(target: str, call: Callable[[int], None]) -> None:
    """Calls ``call`` with 1, 2, 3 and so on whenever the function of this name is called, in front of it."""
    place, name = target.rsplit(".", 1)
    holder = pkgutil.resolve_name(place)
    original, count = getattr(holder, name), 0

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        nonlocal count
        count += 1
        call(count)
        return original(*args, **kwargs)

    setattr(holder, name, wrapped)


def _behind_saves(call: Callable[[int], None]) -> None:
    """Calls ``call`` with 1, 2, 3 and so on behind each checkpoint."""
    _before("pipeline.model.checkpoints.Checkpoints._prune", call)


def _at_disk_calls(call: Callable[[int], None], *, late: bool = False) -> None:
    """Calls ``call`` with 1, 2, 3 and so on at each rename and fsync, from the second checkpoint on."""
    begun, count = False, 0

    def begin(number: int) -> None:
        nonlocal begun
        begun = begun or number == 2

    def wrap(original: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            nonlocal count
            done = original(*args, **kwargs) if late else None
            if begun:
                count += 1
                call(count)
            return done if late else original(*args, **kwargs)

        return wrapped

    _before("pipeline.model.checkpoints.Checkpoints._complete", begin)
    for name in ("replace", "rename", "fsync"):
        setattr(os, name, wrap(getattr(os, name)))


def _die_at(point: int, late: bool) -> None:
    def die(count: int) -> None:
        if count == point:
            os._exit(KILLED)

    _at_disk_calls(die, late=late)


def _fail_from(point: int, number: int) -> None:
    def fail(count: int) -> None:
        if count >= point:
            raise OSError(number, os.strerror(number))

    _at_disk_calls(fail)


def _limit_files(size: int, saved: int) -> None:
    def limit(count: int) -> None:
        if count == saved:
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    _behind_saves(limit)


def _at_fifth_batch(call: Callable[[], None]) -> None:
    def fail(count: int) -> None:
        if count == 5:
            call()

    _before("pipeline.model.examples.CompletionLoss.__call__", fail)


_MOMENTS = {
    "training": "pipeline.model.examples.CompletionLoss.__call__",
    "validating": "pipeline.model.decoding.Classifier._decode_batch",
    "saving": "pipeline.model.checkpoints.seal",
    "writing": "torch.save",
}


def _signal_at(moment: str, when: int, numbers: Sequence[int], sent: Path) -> None:
    def send(count: int) -> None:
        if count == when:
            sent.touch()
            with contextlib.ExitStack() as all_of_them:  # also where the first is answered by an exception
                for number in numbers:
                    all_of_them.callback(os.kill, os.getpid(), number)

    _before(_MOMENTS[moment], send)


def _no_memory() -> None:
    raise MemoryError


def _no_gpu_memory() -> None:
    import torch

    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")


def _beyond_the_limit() -> None:
    import torch

    resource.setrlimit(resource.RLIMIT_AS, (8 << 30, resource.RLIM_INFINITY))
    torch.zeros(4 << 30)


# --- what is looked at afterwards


def _well(bench: Bench, run: str, *, keep: bool = False) -> bool:
    well = bench.goes_on(run)
    if well and not keep:  # what went wrong is kept, to be looked at
        shutil.rmtree(bench.folder / run)
    return well


def _whole(bench: Bench, run: str) -> bool:
    """Whether everything that is called a checkpoint is one."""
    from pipeline.model.seals import BrokenSealError, unseal

    try:
        found = [unseal(path) for path in (bench.folder / run / CHECKPOINTS).glob("checkpoint-*")]
    except BrokenSealError:
        return False
    return bool(found)


def _told(bench: Bench, run: str, *words: str) -> bool:
    """Whether the last line says so, and there is no traceback."""
    lines = bench.said(run).strip().splitlines()
    return "Traceback" not in "".join(lines) and bool(lines) and all(word in lines[-1] for word in words)


def _stopped(bench: Bench, run: str) -> None:
    """A run that was killed behind its third checkpoint, so that there are some on the disk."""
    if not (bench.folder / run).exists():
        bench.train(run, sabotage=lambda: _behind_saves(lambda n: os._exit(KILLED) if n == 3 else None))


def _number(path: Path) -> int:
    return int(path.name.rsplit("-", 1)[1])


def _stamps(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {
        path.relative_to(folder).as_posix(): (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else b"")
        for path in sorted(folder.rglob("*"))
    }
