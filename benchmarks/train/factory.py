"""LLaMA-Factory by its own command: the files it wants and the files it leaves."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.train.job import Job
from pipeline.artifacts import PreparedDataset, dump_json, read_json, write_text

_DATASET = "tweets"


def write_files(job: Job, end: str, folder: Path) -> Path:
    """Writes rows and options into ``folder``; gives the file for ``llamafactory-cli train``.

    The template is ``empty``: the instruction of a row is the whole prompt, as it is for the other programs, and the
    text that ends an answer, ``end``, stands in the answer. Packing is left off: its packs hold as many tweets as fit,
    so that a step would not be over ``batch_size`` tweets.
    """
    dataset = PreparedDataset.load(job.dataset)
    rows = [
        {"instruction": str(dataset.task.prompt(row.input)), "input": "", "output": row.output + end}
        for row in dataset.rows("train")
    ]
    write_text(folder / f"{_DATASET}.json", dump_json(rows))
    write_text(folder / "dataset_info.json", dump_json({_DATASET: {"file_name": f"{_DATASET}.json"}}))
    path = folder / "options.yaml"  # JSON is YAML; files that are called .json it cannot read
    write_text(path, dump_json(options(job, folder)))
    return path


def options(job: Job, folder: Path) -> dict[str, Any]:
    """The options of the training, for speed where they may differ: no gradient checkpointing, tweets of like length
    together, a whole batch in one pass. ``flash_attn`` is a setting of the job: sdpa, or disabled for eager.
    """
    return {
        "stage": "sft",
        "do_train": True,
        "model_name_or_path": job.model,
        "finetuning_type": "lora",
        "lora_rank": job.rank,
        "lora_alpha": job.alpha,
        "lora_dropout": 0.0,
        "lora_target": "all",
        "dataset": _DATASET,
        "dataset_dir": str(folder),
        "template": "empty",
        "cutoff_len": job.max_length,
        "output_dir": job.out,
        "per_device_train_batch_size": job.batch_size,
        "gradient_accumulation_steps": 1,
        "max_steps": job.steps,
        "learning_rate": job.learning_rate,
        "lr_scheduler_type": "linear",
        "warmup_steps": job.warmup_steps,
        "bf16": True,  # pure_bf16 is refused on a CPU
        "flash_attn": job.settings["attention"],
        "disable_gradient_checkpointing": True,
        "train_sampling_strategy": "group_by_length",
        "use_cpu": True,
        "logging_steps": job.logging_steps,
        "save_strategy": "no",
        "report_to": "none",
        "seed": job.seed,
    }


def outcome(job: Job) -> Mapping[str, Any]:
    """The seconds of its training loop and its losses, from the files it left."""
    folder = Path(job.out)
    history = read_json(folder / "trainer_state.json")["log_history"]
    return {
        "seconds": read_json(folder / "train_results.json")["train_runtime"],
        "losses": [[record["step"], float(record["loss"])] for record in history if "loss" in record],
    }
