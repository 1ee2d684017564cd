"""The runs that the demo can show, and the one model that is in memory."""

import gc
import logging
import random
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.artifacts import MANIFEST, Run, dataset_of, read_json
from pipeline.errors import PipelineError
from pipeline.traces import threshold_of, why_no_threshold

if TYPE_CHECKING:
    from pipeline.library import Device, Precision
    from pipeline.model.decoding import Classifier
    from pipeline.model.loading import Placement

log = logging.getLogger("app")

# To learn from; TF-IDF gains little from more, and has to be fitted each time a run is taken.
TFIDF_ROWS = 20_000
_SEED = 0

Bag = Callable[[Sequence[str]], list[dict[str, Any]]]
"""TF-IDF with logistic regression: from texts to ``predicted`` and ``probabilities`` of each."""


@dataclass(frozen=True)
class Loaded:
    """A run whose model is in memory.

    ``threshold`` is the confidence below which the run's last evaluation would abstain, or None, for which
    ``why_no_threshold`` has the reason. ``bag`` comes once it is fitted; its PipelineError says why there is none.
    """

    run: Run
    classifier: "Classifier"
    placement: "Placement"
    threshold: float | None
    why_no_threshold: str
    bag: "Future[Bag]"

    @property
    def about(self) -> str:
        """Which model it is, for the page."""
        name = Path(self.run.manifest["base_model"]["name"]).name
        return f"{name}, tuned in {self.run.folder.name}, decoded in {self.placement.precision}"


class Shelf:
    """Runs by name, one of them loaded at a time; threads take turns.

    Raises:
        PipelineError: there is no such device.
    """

    def __init__(self, runs: Mapping[str, Run], *, precision: "Precision" = "auto", device: "Device" = "auto") -> None:
        from pipeline.model.device import check_device

        check_device(device)
        self.runs = runs
        self.names = list(runs)
        self._options: dict[str, Any] = {"precision": precision, "device": device}
        self._lock = threading.RLock()
        self._loaded: tuple[str, Loaded] | None = None
        self._closed = False
        self._fitting = ThreadPoolExecutor(1, "tf-idf")

    def name(self, given: str | None) -> str:
        """The name of a run; the first one's where none is given.

        Raises:
            PipelineError: there is no run of that name.
        """
        if given is not None and given not in self.names:  # a program may give anything, a list too
            raise PipelineError(f"run: expected one of {', '.join(self.names)}; see the list on the page")
        return self.names[0] if given is None else given

    @contextmanager
    def open(self, given: str | None = None) -> Iterator[Loaded]:
        """The run's model, for the length of the block; nobody else computes with it meanwhile.

        Raises:
            PipelineError: there is no such run, it cannot be loaded, or the demo is being stopped.
        """
        name = self.name(given)
        with self._lock:
            if self._closed:
                raise PipelineError("The demo is being stopped.")
            if self._loaded is None or self._loaded[0] != name:
                self._loaded = None  # goes before the next one comes: memory for one is enough
                gc.collect()
                self._loaded = (name, self._load(self.runs[name]))
            yield self._loaded[1]

    def close(self) -> None:
        """Gives no model any more, and waits until nobody computes with one: ended meanwhile, PyTorch aborts."""
        self._closed = True
        with self._lock:
            self._loaded = None
        self._fitting.shutdown(cancel_futures=True)

    def _load(self, run: Run) -> Loaded:
        log.info("loading PyTorch, transformers and the model of %s", run.folder)
        from pipeline.model.classifier import load_classifier

        classifier, placement = load_classifier(run, **self._options)
        classifier.decode([run.task.instruction])  # what is computed once, the first visitor need not wait for
        bag = self._fitting.submit(fit_bag, run)
        return Loaded(run, classifier, placement, threshold_of(run), why_no_threshold(run), bag)


def fit_bag(run: Run) -> Bag:
    """TF-IDF with logistic regression, fitted on the rows that the run was tuned on.

    Raises:
        PipelineError: the run's data set is not where it was, or has changed.
    """
    rows = dataset_of(run).rows("train")
    if len(rows) > TFIDF_ROWS:
        rows = random.Random(_SEED).sample(rows, TFIDF_ROWS)  # noqa: S311 - a draw, not a secret
    from pipeline.scoring.baselines import fit_tfidf

    return fit_tfidf([row.input for row in rows], [row.output for row in rows], labels=run.task.labels, seed=_SEED)


def find_runs(given: Sequence[str]) -> dict[str, Run]:
    """The runs of ``--run``, by name: folders of runs, and folders that hold such folders.

    Raises:
        PipelineError: one of them is neither.
    """
    folders: list[Path] = []
    for place in map(Path, given):
        inside = [] if (place / MANIFEST).is_file() or not place.is_dir() else _runs_in(place)
        folders += inside or [place]
    if not folders:
        raise PipelineError("--run: expected the folder of a run, got none")
    runs = [Run.load(folder) for folder in dict.fromkeys(folders)]
    short = [run.folder.resolve().name for run in runs]
    return {name if short.count(name) == 1 else str(run.folder): run for name, run in zip(short, runs, strict=True)}


def _runs_in(folder: Path) -> list[Path]:
    """The finished runs in a folder, by name; what else lies there is passed over."""
    found = []
    for path in sorted(folder.iterdir()):
        if (path / MANIFEST).is_file():
            manifest = read_json(path / MANIFEST)
            if isinstance(manifest, dict) and manifest.get("kind") == Run.kind:
                found.append(path)
    return found
