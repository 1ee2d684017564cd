"""A folder of files as shards: each becomes a file of the same name in another folder, here or on many machines.

A shard is done when its file is there under its name. What was stopped or killed goes on: shards that are done stay,
and one that was begun goes on after its finished parts.
"""

import dataclasses
import functools
import logging
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from pipeline.artifacts import MANIFEST, Run, dump_json, read_json, refuse_existing, sync, write_manifest, write_text
from pipeline.errors import PipelineError, StoppedError
from pipeline.locking import LOCK, Lock
from pipeline.parts import BEGUN, Parts

if TYPE_CHECKING:
    from pipeline.library import TunedClassifier
    from pipeline.predict import PredictConfig

log = logging.getLogger("pipeline.predict")

KIND = "predictions"
SUFFIXES = (".parquet", ".jsonl", ".csv", ".tsv")
ROWS = "rows"  # among the counts of what became of a file

# A shard by its name and what became of its rows, by kind of answer.
Labelled = tuple[str, Mapping[str, int]]
# Labels shards, each a config of its own, and tells of each when it is done.
Engine = Callable[["list[PredictConfig]"], Iterable[Labelled]]


def predict_shards(
    config: "PredictConfig",
    run: Run,
    fingerprint: Mapping[str, Any],
    engine: Engine,
    check: "Callable[[PredictConfig], bool]",
) -> Path:
    """Labels every file in a folder; one of white space, or of nothing, becomes one without rows.

    Args:
        config: whose source and out are folders.
        run: whose model it is.
        fingerprint: what decides the outcome.
        engine: labels the files that are not done yet.
        check: refuses a file that cannot be labelled, before any is, and tells whether there is something in it.

    Raises:
        PipelineError: the source holds no such file or one that cannot be labelled, or out holds something else. Where
            no row was labelled, nothing is left of this.
    """
    from pipeline.predict import tell

    names = shards_in(Path(config.source))
    out = Path(config.out)
    if out.suffix.lower() in SUFFIXES or config.out == "-":
        raise PipelineError(f"--out {config.out}: expected a folder, as --source is one; name one without {out.suffix}")
    if not (config.resume and out.is_dir()):
        refuse_existing(out, begun=BEGUN)
    elif (out / MANIFEST).is_file():
        (out / BEGUN).unlink(missing_ok=True)
        log.info("%s: is finished already", out)
        return out
    elif not (out / BEGUN).is_file() and any(path.name != LOCK for path in out.iterdir()):
        raise PipelineError(f"{out}: expected shards that are being labelled, got a folder without {BEGUN}")
    out.mkdir(parents=True, exist_ok=True)
    with Lock(out, "is predicting into it") as lock:
        lock.take()
        begins = not (out / BEGUN).is_file()
        try:
            _begin(out, names, fingerprint)
            todo = [name for name in names if not _is_done(out, name)]
            if len(todo) < len(names):
                log.info("%d of %d shards are done already", len(names) - len(todo), len(names))
            each = [
                dataclasses.replace(config, source=f"{config.source}/{name}", out=str(out / name), resume=True)
                for name in todo
            ]
            looked_at = tqdm(each, desc="looking at the shards", unit="shard", disable=None, leave=False)
            empty = [shard.source for shard in looked_at if not _has_rows(shard, check)]
            for source in empty:  # told here, as a worker of a cluster is not heard
                log.warning("%s: is empty; counted as a shard of 0 rows", source)
            counts = _followed(engine(each), len(names) - len(todo), len(names))
            content = {"parents": {"run": {"path": config.run, "sha256": run.sha256}}, "begun_with": dict(fingerprint)}
            write_manifest(out, KIND, run.task, content, skip=[LOCK, BEGUN])
            (out / BEGUN).unlink()  # only now: without it nothing can be gone on with
        except PipelineError:
            if begins and not any(_is_labelled(out, name) for name in names):  # nothing there could be gone on with
                shutil.rmtree(out, ignore_errors=True)
            raise
        except KeyboardInterrupt as error:
            raise StoppedError(f"{out}: stopped; go on with the same command and --resume") from error
        lock.remove()
    log.info("%d shards labelled now, %d of them empty", len(todo), len(empty))
    tell(config, counts, run)
    return out


def shards_in(folder: Path) -> list[str]:
    """The names of the files to label, in their order.

    Raises:
        PipelineError: there is none.
    """
    files = [path for path in folder.iterdir() if path.is_file() and not path.name.startswith((".", "_"))]
    names = sorted(path.name for path in files if path.suffix.lower() in SUFFIXES)
    if not names:
        raise PipelineError(f"{folder}: expected files that end with {', '.join(SUFFIXES)}; got none")
    others = sorted(path.name for path in files if path.name not in names)
    if others:
        log.warning("%s: %d files are left out, %s among them; unpack or convert them", folder, len(others), others[0])
    return names


def one_by_one(
    load: "Callable[[], TunedClassifier]", label: "Callable[[PredictConfig, Any], Mapping[str, int]]"
) -> Engine:
    """The engine of this process alone: one file after another, with one model.

    Args:
        load: the model, when the first file needs it.
        label: labels a file; gets its config and what gives the model.
    """
    model = functools.cache(load)

    def engine(shards: "list[PredictConfig]") -> Iterator[Labelled]:
        for shard in shards:
            yield Path(shard.out).name, label(shard, model)

    return engine


def _has_rows(shard: "PredictConfig", check: "Callable[[PredictConfig], bool]") -> bool:
    try:
        return check(shard)
    except PipelineError as error:
        raise PipelineError(
            f"{error}; all files of a folder are read in the same way, so mend this one, or label it alone"
        ) from error


def _is_done(out: Path, name: str) -> bool:
    """Whether a shard is; one with parts beside it was killed when it had just finished: who labels it removes them."""
    return (out / name).is_file() and not Parts(out / name).folder.is_dir()


def _is_labelled(out: Path, name: str) -> bool:
    """Whether some of a shard is."""
    return (out / name).is_file() or Parts(out / name).folder.is_dir()


def _begin(out: Path, names: list[str], fingerprint: Mapping[str, Any]) -> None:
    """Notes what the work is begun with, or makes sure that it goes on with the same."""
    from pipeline.predict import refuse_other

    now = {**fingerprint, "shards": names}
    if (out / BEGUN).is_file():
        refuse_other(out, read_json(out / BEGUN), now)
        return
    write_text(out / BEGUN, dump_json(now))
    sync(out)


def _followed(labelled: Iterable[Labelled], done: int, total: int) -> Counter[str]:
    """What became of all rows; a bar shows how many shards are done, and the rate."""
    counts: Counter[str] = Counter()
    began = time.monotonic()
    with tqdm(total=total, initial=done, desc="shards", unit="shard", disable=None) as bar:
        for _, found in labelled:
            counts += Counter(found)
            bar.set_postfix_str(f"{counts[ROWS] / (time.monotonic() - began):.1f} tweets/s")
            bar.update()
    return counts
