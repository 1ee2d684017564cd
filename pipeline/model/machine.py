"""What this machine offers to a model."""

import os

import torch

from pipeline.model.base import EMBEDDED, cache_folder
from pipeline.model.loading import place


def describe_machine() -> list[tuple[str, str]]:
    """Device, default precision, memory and the embedded base model, as (subject, one line)."""
    default = place("auto", "auto")
    lines = [
        ("device", f"{default.device}; precision auto means {default.precision}; {torch.get_num_threads()} threads")
    ]
    if torch.cuda.is_available():
        free, total = torch.cuda.mem_get_info()
        name = torch.cuda.get_device_name()
        lines.append(("gpu", f"{name}, {free / 2**30:.1f} of {total / 2**30:.1f} GiB free, CUDA {torch.version.cuda}"))
    else:
        lines.append(("gpu", "none that PyTorch can see; presets for a GPU will not run"))
    if hasattr(os, "sysconf") and "SC_AVPHYS_PAGES" in os.sysconf_names:
        page = os.sysconf("SC_PAGE_SIZE")
        free_gib, total_gib = (os.sysconf(name) * page / 2**30 for name in ("SC_AVPHYS_PAGES", "SC_PHYS_PAGES"))
        lines.append(("memory", f"{free_gib:.1f} of {total_gib:.1f} GiB free"))
    for name, model in EMBEDDED.items():
        folder = cache_folder() / name
        state = (
            "ready" if (folder / "source.json").is_file() else f"not yet fetched ({model.megabytes} MB at first use)"
        )
        lines.append(("base model", f"{name}: {state}, {folder}"))
    return lines
