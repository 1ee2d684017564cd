"""Shards on the machines of a Ray cluster, or on the cores of this one. The only home of ray.

Each worker holds the model. One that dies is started again by Ray, and the shard that it had in hand goes on after its
finished parts; so every machine must see the run, the shards and the folder for the results under the same paths.
"""

import dataclasses
import functools
import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.artifacts import Run
from pipeline.errors import PipelineError, first_line

if TYPE_CHECKING:
    from pipeline.predict import PredictConfig
    from pipeline.shards import Engine, Labelled

log = logging.getLogger("pipeline.predict")


class Worker:
    """A process of the cluster with a model of its own; labels one shard at a time."""

    def __init__(self) -> None:
        self._run: Run | None = None
        self._model: Any = None

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        """Labels the shards of a batch: their names, what became of their rows, and the line of one that failed."""
        from pipeline.predict import PredictConfig, label_shard

        names, counts, errors = [], [], []
        for order in batch["shard"]:
            shard = PredictConfig(**json.loads(order))
            found: Mapping[str, int] = {}
            error = ""
            try:
                self._run = self._run or Run.load(shard.run)
                found = label_shard(self._run, shard, functools.partial(self._loaded, shard, self._run))
            except (PipelineError, OSError, MemoryError) as told:
                error = str(told) or type(told).__name__
            names.append(Path(shard.out).name)
            counts.append(json.dumps(found))
            errors.append(error)
        return {"name": names, "counts": counts, "error": errors}

    def _loaded(self, shard: "PredictConfig", run: Run) -> Any:
        from pipeline.predict import load_model

        if self._model is None:
            self._model = load_model(shard, run)
        return self._model


def engine(address: str | None, workers: int | None) -> "Engine":
    """The engine that labels shards with Ray Data.

    Args:
        address: of a cluster: ``auto`` or ``ray://host:10001``; None starts one on this machine.
        workers: how many models work at the same time; None takes one for every two cores or for every GPU.

    Raises:
        PipelineError: ray is missing, or the cluster cannot be reached.
    """
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise PipelineError("--engine ray: expected the package ray; pip install -e '.[ray]' in the clone") from error

    def run(shards: "list[PredictConfig]") -> Iterator["Labelled"]:
        if not shards:
            return
        _start(ray, address)
        try:
            resources: Mapping[str, float] = ray.cluster_resources()
            gpus = float(shards[0].device != "cpu" and resources.get("GPU", 0) > 0)
            count = min(workers or _workers(resources, gpus), len(shards))
            log.info("%d workers label %d shards", count, len(shards))
            orders = [{"shard": json.dumps(dataclasses.asdict(_anywhere(shard)))} for shard in shards]
            labelled = ray.data.from_items(orders, override_num_blocks=len(orders)).map_batches(
                Worker,
                batch_size=1,
                compute=ray.data.ActorPoolStrategy(size=count),
                num_cpus=_cores([node["Resources"] for node in ray.nodes() if node["Alive"]], count),  # and threads
                num_gpus=gpus or None,
            )
            for row in labelled.iter_rows():
                if row["error"]:
                    raise PipelineError(row["error"])
                yield row["name"], json.loads(row["counts"])
        except ray.exceptions.RayError as error:
            raise PipelineError(f"--engine ray: {first_line(error)}; go on with --resume") from error
        finally:
            ray.shutdown()

    return run


def _start(ray: Any, address: str | None) -> None:
    """Connects to a cluster, or starts one here."""
    # Its C++ part writes to stderr what reads like an error where a worker is started again.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    # Workers import the project from where it lies.
    here = str(Path(__file__).resolve().parents[1])
    paths = os.pathsep.join(filter(None, [here, os.environ.get("PYTHONPATH")]))
    environment = {"env_vars": {"PYTHONPATH": paths}}
    try:
        ray.init(
            address=address,
            runtime_env=environment,
            log_to_driver=False,
            logging_level=logging.ERROR,
            **({} if address else {"include_dashboard": False}),
        )
    except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
        where = f"--ray_address {address}" if address else "--engine ray"
        raise PipelineError(f"{where}: no cluster can be had there; {first_line(error)}") from error
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False  # there is one already
    context.print_on_execution_start = False
    for name in ("ray", "ray.data", "ray._private"):
        logging.getLogger(name).setLevel(logging.ERROR)


def _workers(resources: Mapping[str, float], gpus: float) -> int:
    return max(1, int(resources.get("GPU", 0) if gpus else resources.get("CPU", 1) // 2))


def _cores(nodes: Sequence[Mapping[str, float]], workers: int) -> float:
    """How many cores each worker gets so that all fit, when one lies on one machine."""
    cores = [int(node.get("CPU", 1)) for node in nodes]
    each = next(n for n in range(max(cores), 0, -1) if n == 1 or sum(core // n for core in cores) >= workers)
    return float(each)


def _anywhere(shard: "PredictConfig") -> "PredictConfig":
    """The config with whole paths: a worker may begin in another folder."""
    run, source, out = (str(Path(path).absolute()) for path in (shard.run, shard.source, shard.out))
    return dataclasses.replace(shard, run=run, source=source, out=out)
