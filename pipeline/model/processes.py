"""Several processes that train one model together, as torchrun and accelerate start them; one is the usual case."""

import logging
import os
from typing import TypeVar

from accelerate import PartialState
from torch import distributed

from pipeline.errors import PipelineError

Value = TypeVar("Value")


class Processes:
    """This process among those that were started together.

    ``rank`` counts from 0 over all machines, ``count`` is their number. The process of rank 0 alone writes and talks.
    """

    def __init__(self, device: str) -> None:
        """Meets the others; waits until all are there.

        Args:
            device: cpu or cuda, the same for all.

        Raises:
            PipelineError: accelerate would divide the model among them.
        """
        for variable, name in (("ACCELERATE_USE_FSDP", "FSDP"), ("ACCELERATE_USE_DEEPSPEED", "DeepSpeed")):
            if os.environ.get(variable, "false").lower() in ("true", "1"):
                # Each decodes other tweets, and one saves; with parts of a model they would wait for each other.
                raise PipelineError(
                    f"accelerate's config: expected every process to hold the whole model, got {name}; run accelerate "
                    "config again for plain multi-GPU, and --precision int8 or nf4 where the model is too large"
                )
        self.count, self.rank = 1, 0
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            # On a CPU, cpu=True keeps accelerate from looking for a GPU; gloo is what talks between CPUs.
            state = PartialState(cpu=device == "cpu")
            self.count, self.rank = state.num_processes, state.process_index
        if self.rank:
            logging.getLogger("pipeline").setLevel(logging.WARNING)

    @property
    def first(self) -> bool:
        """Whether this is the one that writes and talks."""
        return self.rank == 0

    def wait(self) -> None:
        """Until all are here."""
        if self.count > 1:
            distributed.barrier()

    def part(self) -> None:
        """Ends what connects them, once all are done: one that just goes may be torn down in the middle of a talk."""
        if self.count > 1:
            distributed.barrier()
            distributed.destroy_process_group()

    def any(self, here: bool) -> bool:
        """Whether it is so in any of the processes."""
        if self.count == 1:
            return here
        return any(self.gather(here))

    def gather(self, value: Value) -> list[Value]:
        """The value of every process, in the order of their ranks."""
        if self.count == 1:
            return [value]
        values: list[Value | None] = [None] * self.count
        distributed.all_gather_object(values, value)
        return values  # type: ignore[return-value]

    def share_of(self, values: list[Value]) -> list[Value]:
        """Every ``count``-th of the values: this process's part of a common work."""
        return values[self.rank :: self.count]

    def joined(self, parts: list[Value], total: int) -> list[Value]:
        """What ``share_of`` divided, together again and in order, from what each process made of its part."""
        whole: list[Value | None] = [None] * total
        for rank, part in enumerate(self.gather(parts)):
            whole[rank :: self.count] = part
        return whole  # type: ignore[return-value]
