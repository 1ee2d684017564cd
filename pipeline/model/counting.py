"""Lengths in tokens of the embedded base model, without loading the model."""

from collections.abc import Sequence

from pipeline.model.base import cache_folder
from pipeline.task import Task

BASE_MODEL = "smollm2-135m"
_CHUNK = 1_000  # texts


class PromptLengths:
    """Counts the tokens of texts as the embedded base model reads them.

    ``room`` is how many of ``max_length`` tokens are left for a text beside the instruction and the answer.
    """

    def __init__(self, task: Task, max_length: int) -> None:
        from tokenizers import Tokenizer

        self._tokenizer = Tokenizer.from_file(str(cache_folder() / BASE_MODEL / "tokenizer.json"))
        prompt = task.prompt("")
        longest = max(self.count(task.labels)) + 1  # and the terminator
        self.room = max_length - sum(self.count([prompt.before, prompt.after])) - longest

    def count(self, texts: Sequence[str]) -> list[int]:
        """Number of tokens of each text."""
        lengths: list[int] = []
        for start in range(0, len(texts), _CHUNK):  # what the tokenizer tells of a text takes kilobytes
            batch = self._tokenizer.encode_batch_fast(list(texts[start : start + _CHUNK]), add_special_tokens=False)
            lengths += [len(one.ids) for one in batch]
        return lengths


def prompt_lengths(task: Task, max_length: int) -> PromptLengths | None:
    """The counter, or None where the base model has not been fetched yet: a count is not worth a download."""
    if not (cache_folder() / BASE_MODEL / "tokenizer.json").is_file():
        return None
    return PromptLengths(task, max_length)
