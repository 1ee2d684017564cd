"""From a prompt to token ids: the one function that training, scoring, generation and the demo share."""

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from pipeline.errors import PipelineError
from pipeline.task import Task
from pipeline.text import clean


@dataclass(frozen=True)
class EncodedPrompt:
    """Token ids of one prompt.

    ``ids`` is the whole prompt; its first ``Encoder.prefix`` ids are the same for every tweet. ``shortened``
    tells whether the tweet lost its end to fit.
    """

    ids: list[int]
    shortened: bool


class Encoder:
    """Encodes prompts and completions of one task for one tokenizer.

    The prompt is encoded in three segments: scaffold, tweet, scaffold. Only the scaffold may yield control tokens
    (``<s>``, ``<|im_end|>``); in the tweet the same characters are plain text. Each segment is encoded on its own,
    so ids do not depend on what a tweet begins or ends with. A template in pieces has its control tokens written out;
    before one that is a text the tokenizer puts those with which it begins any text.

    ``max_length`` is in tokens and counts prompt and completion. A long tweet is cut at its end; scaffold,
    completion and terminator never are. ``examples``, pairs of a tweet and its label, stand before every prompt, as
    earlier turns of a chat, or, where the task has no turns, in the form of training examples; they do not count in
    ``max_length``.

    ``prefix`` and ``suffix`` are the ids around a tweet, ``end`` that of the token behind an answer, ``start`` those
    that the tokenizer itself puts before any text.

    Raises:
        PipelineError: ``max_length`` leaves no room for a tweet, or the tokenizer has no terminator.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        task: Task,
        max_length: int,
        examples: Sequence[tuple[str, str]] = (),
    ) -> None:
        # A letter or a line break may stand in the vocabulary as an added token, and is text all the same.
        special = set(tokenizer.all_special_tokens)
        added = {
            token: number for token, number in tokenizer.get_added_vocab().items() if token in special or len(token) > 1
        }
        end = tokenizer.eos_token_id if task.end is None else added.get(task.end)
        if end is None:
            missing = task.end or "end-of-sequence token"
            raise PipelineError(f"tokenizer: it has no {missing}, so a completion could not end; use another")
        self.tokenizer = tokenizer
        self.task = task
        self.max_length = max_length
        self.end: int = end
        self._control = set(tokenizer.all_special_ids) | set(added.values())
        longest_first = sorted(added, key=len, reverse=True)
        self._added = re.compile("|".join(map(re.escape, longest_first)) or "(?!)")  # the latter matches nothing
        before, after = task.pieces()
        instruction = ("{instruction}", task.instruction)
        self.suffix: list[int] = self._scaffold(after, *instruction)
        # What the tokenizer puts before any text; some close every text too.
        self.start = list(itertools.takewhile(self._control.__contains__, tokenizer("a")["input_ids"]))
        self.prefix = [
            *(self.start if isinstance(task.template, str) else []),
            *self._scaffold(before, *instruction),
        ]
        self.completions = {label: [*self._plain(task.before_label + label), end] for label in task.labels}
        self.longest_completion = max(map(len, self.completions.values()))
        self._room = max_length - len(self.prefix) - len(self.suffix) - self.longest_completion
        if self._room < 8:
            raise PipelineError(
                f"max_length: the instruction and the labels alone need {max_length - self._room} tokens; "
                f"expected at least {max_length - self._room + 8}, got {max_length}"
            )
        self.prefix = self._behind(examples)

    def prompt(self, text: str) -> EncodedPrompt:
        """Ids of the prompt for one tweet."""
        ids, shortened = self._tweet(text)
        return EncodedPrompt([*self.prefix, *ids, *self.suffix], shortened)

    def prompts(self, texts: Sequence[str]) -> list[EncodedPrompt]:
        """Ids of the prompts for many tweets, in their order."""
        return [self.prompt(text) for text in texts]

    def _tweet(self, text: str) -> tuple[list[int], bool]:
        """Ids of a tweet, as many as there is room for, and whether it lost its end."""
        cleaned = clean(text)
        # A token seldom stands for more than a dozen characters: a megabyte need not be tokenised to be cut.
        head = cleaned[: self._room * 16]
        ids = self._plain(head)
        return ids[: self._room], len(ids) > self._room or len(head) < len(cleaned)

    def _behind(self, examples: Sequence[tuple[str, str]]) -> list[int]:
        """Ids of the prefix with examples in it."""
        ids = list(self.prefix)
        begun = len(self.start) if ids[: len(self.start)] == self.start else 0
        for text, label in examples:
            tweet, _ = self._tweet(text)
            if self.task.turn is None:
                ids += [*tweet, *self.suffix, *self.completions[label], *self.prefix[begun:]]
            else:
                ids += [*tweet, *self._scaffold(self.task.turn, "{label}", label)]
        return ids

    def _scaffold(self, pieces: Sequence[str], slot: str, text: str) -> list[int]:
        """Ids of pieces of the template, each by itself, with control tokens where they are written out.

        The tokenizer sees a piece as a whole, as the makers of the model have it, unless the text that comes into its
        slot holds what looks like a control token.
        """
        apart = self._added.search(text) is not None
        ids: list[int] = []
        for piece in pieces:
            before, found, after = piece.partition(slot)
            if found and apart:
                ids += [*self._written(before), *self._plain(text), *self._written(after)]
            else:
                ids += self._written(piece.replace(slot, text))
        return ids

    def _written(self, text: str) -> list[int]:
        """Ids of a text of the template's author, control tokens included."""
        ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def _plain(self, text: str) -> list[int]:
        """Ids of a text in which nothing is a control token.

        What looks like one is encoded in two pieces, its first character and the rest: tokenizers can be told to split
        their special tokens but not the other added ones.
        """
        cuts = [0, *(match.start() + 1 for match in self._added.finditer(text)), len(text)]
        ids = []
        for start, end in itertools.pairwise(cuts):
            ids += self.tokenizer(text[start:end], add_special_tokens=False, split_special_tokens=True)["input_ids"]
        return [i for i in ids if i not in self._control]
