"""Where faults are tried: a tiny model, a few tweets, and trainings in processes that cost no start-up.

A process that has imported all there is to import forks one child for each training, which runs the command
``pipeline.train`` as a user does. A child can be sabotaged before it begins, and killed at any time.
"""

import gc
import itertools
import json
import os
import re
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from pipeline import train
from pipeline.artifacts import TRAINING_LOG, Row, new_folder, sha256_of, write_manifest, write_text
from pipeline.task import ALPACA_TEMPLATE, SENTIMENT_INSTRUCTION, Task

# Dropout, accumulated gradients, validations between checkpoints and at one: what resuming could get wrong.
OPTIONS = (
    *("--precision", "fp32", "--device", "cpu", "--max_length", "160", "--batch_size", "4", "--micro_batch_size", "2"),
    *("--max_steps", "6", "--evaluations", "2", "--checkpoint_steps", "2", "--learning_rate", "0.3"),
    *("--lora.r", "4", "--lora.dropout", "0.1", "--lora.target_modules", "[q_proj,v_proj]"),
)
# Numbers that two trainings need not share.
_TIMES = re.compile("seconds|_per_second|_runtime")
_PHRASES = {
    "Positive": ("love it", "great day", "so happy", "what a win", "moon soon"),
    "Neutral": ("the price is", "block mined", "at noon today", "who knows when", "fee per byte"),
    "Negative": ("hate it", "awful day", "so sad", "what a loss", "rekt again"),
}
_PATIENCE = 300.0  # seconds; a child that takes longer hangs

HUNG = 124


@dataclass(frozen=True)
class Bench:
    """A folder with ``model/`` and ``prepared/``, and room for runs."""

    folder: Path

    def build(self) -> None:
        """Makes the model, random and untrained, and the tweets."""
        for name, seed in (("model", 0), ("model-other", 1)):
            _tiny_model(self.folder / name, seed)
        rows = [
            Row(str(i), SENTIMENT_INSTRUCTION, f"{_PHRASES[label][i // 3 % 5]} {i}", label, i)
            for i, label in zip(range(60), itertools.cycle(_PHRASES), strict=False)
        ]
        # Validated on what is not trained, it grows worse: the best adapter is not the last.
        parts = {
            "train": [row for row in rows if row.output != "Negative"][:24],
            "val": [row for row in rows if row.output == "Negative"][:8],
            "test": rows[:8],
        }
        for folder, task in (("prepared", Task()), ("prepared-other", Task(template=f"Read. {ALPACA_TEMPLATE}"))):
            with new_folder(self.folder / folder) as staging:
                for name, part in parts.items():
                    write_text(staging / f"{name}.json", json.dumps([row.to_json() for row in part]))
                write_manifest(staging, "prepared", task, {})
        for name in ("model", "prepared"):
            shutil.copytree(self.folder / name, self.folder / f"{name}-same")

    def command(self, run: str, *options: str) -> list[str]:
        """The options of ``python -m pipeline.train`` that train into the run of this name, or go on with it."""
        paths = {"dataset": "prepared", "base_model": "model", "out": run}
        given = [part for name, path in paths.items() for part in (f"--{name}", str(self.folder / path))]
        return [*given, "--resume", *OPTIONS, *options]

    def start(self, run: str, *options: str, sabotage: Callable[[], None] | None = None) -> int:
        """Begins a training in a child; gives its process id. ``sabotage`` is called there before it begins."""
        sys.stdout.flush()
        sys.stderr.flush()
        child = os.fork()
        if not child:
            self._be_child(run, options, sabotage)
        return child

    def train(self, run: str, *options: str, sabotage: Callable[[], None] | None = None) -> int:
        """Exit code of a whole training."""
        return wait(self.start(run, *options, sabotage=sabotage))

    def said(self, run: str) -> str:
        """What the last training of this run wrote on stdout and stderr."""
        return (self.folder / f"{run}.log").read_text(encoding="utf-8")

    def result(self, run: str) -> Mapping[str, Any]:
        """All that must be the same whether a training was interrupted or not: every byte but times and paths."""
        folder = self.folder / run
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        lines = map(json.loads, (folder / TRAINING_LOG).read_text(encoding="utf-8").splitlines())
        return {
            "names": sorted(path.name for path in folder.iterdir()),
            "files": sorted(manifest["files"]),
            "adapter": {path.name: sha256_of(path) for path in (folder / "adapter").iterdir()},
            "log": [_timeless(line) for line in lines],
            "result": _timeless(manifest["result"]),
        }

    def reference(self) -> Mapping[str, Any]:
        """The result of a training that nothing has happened to."""
        if not (self.folder / "reference").exists() and self.train("reference") != 0:
            raise RuntimeError(self.said("reference"))
        return self.result("reference")

    def goes_on(self, run: str) -> bool:
        """Whether the run, resumed, comes out as if nothing had happened."""
        return self.train(run) == 0 and self.result(run) == self.reference()

    def _be_child(self, run: str, options: tuple[str, ...], sabotage: Callable[[], None] | None) -> NoReturn:
        code: Any = 99
        try:
            descriptor = os.open(self.folder / f"{run}.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(descriptor, 1)
            os.dup2(descriptor, 2)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            if sabotage is not None:
                sabotage()
            train.main(self.command(run, *options))
        except SystemExit as stopped:
            code = stopped.code
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code if isinstance(code, int) else 1)


def wait(child: int, *, seconds: float = _PATIENCE) -> int:
    """Exit code of a child, minus the signal's number where one killed it."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return HUNG


def _timeless(numbers: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in numbers.items() if not _TIMES.search(name)}


def warm_up() -> None:
    """Imports what a training needs, so that children need not, and takes it out of the garbage collector's sight."""
    import pipeline.model.training
    import pipeline.scoring.metrics  # noqa: F401

    gc.collect()
    gc.freeze()


def _tiny_model(folder: Path, seed: int) -> None:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, set_seed

    from pipeline.model.loading import quiet

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    special = ["<s>", "</s>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=600, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    texts = [ALPACA_TEMPLATE, SENTIMENT_INSTRUCTION, *_PHRASES, *(text for each in _PHRASES.values() for text in each)]
    bpe.train_from_iterator(texts, trainer)
    begin, end = special
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe, bos_token=begin, eos_token=end, pad_token=end)
    set_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=256,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
    )
    with quiet():
        LlamaForCausalLM(config).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
