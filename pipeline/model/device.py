"""Whether there is the device that is asked for; of the libraries of a model this loads PyTorch alone."""

from pipeline.errors import PipelineError


def check_device(device: str) -> None:
    """Finds a GPU that is missing before the other libraries are loaded, which takes longer.

    Raises:
        PipelineError: there is none, and ``device`` is cuda.
    """
    if device != "cuda":
        return
    import torch

    if not torch.cuda.is_available():
        raise PipelineError("--device cuda: this PyTorch sees no CUDA GPU; use --device cpu, or see pipeline.doctor")
