"""A sentencepiece BPE model as a fast tokenizer that gives the same ids.

Sentencepiece joins first, of all neighbours that are a piece together, those whose piece has the best score; where two
are as good, the leftmost (Kudo and Richardson 2018, "SentencePiece"). The ``tokenizers`` library joins by a list of
pairs, the first of the list first. So the pairs are put in the order of the scores of what they make: in some
vocabularies, such as Baichuan2's, the order of the ids is another.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import sentencepiece
from sentencepiece import sentencepiece_model_pb2
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from pipeline.errors import PipelineError, first_line

_ModelProto: Any = sentencepiece_model_pb2.ModelProto  # type: ignore[attr-defined]  # made when it is imported
_SPACE = "▁"  # how sentencepiece writes a space
_RESERVED = re.compile(r"<[^<>\s]+>|\[[^\[\]\s]+\]")
# What a tweet may hold, as far as it has led tokenizers astray: each must be encoded alike, whatever the vocabulary.
PROBES = (
    "Bitcoin is up 3%, isn't it?", " two spaces  at  both ends  ", "tabs\tand\nlines\r\n\n", "   ", "\x00\x07",
    "BTC比特币涨了！今天", "naïve café über straße", "🚀🚀🌕 to the moon 👩\u200d👩\u200d👧 🇩🇪", "e\u0301 é",
    "1234567890 12,345.67 ½ ²", "@user #btc $ETH https://t.co/a1B2c3", "people stop eopsop", "aaaaaaa!!!!!!!......",
    "Привет мир", "こんにちは世界", "안녕하세요", "مرحبا بالعالم", "ไทย", "\u200b\u00a0\u3000", "▁literal ▁▁",
    "<unk> <s> </s> <|user|> [gMASK] sop <0x0A>", "\\n \\t {} [] () <> <<>>",
)  # fmt: skip
_TOLERATED = 1 / 1_000


class SentencepieceBpe:
    """A ``tokenizer.model``: its pieces with type and score, and how it normalises.

    Raises:
        PipelineError: it is no sentencepiece model, or of a kind that is not converted.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            content = path.read_bytes()
        except OSError as error:
            raise PipelineError(f"{path}: expected a sentencepiece model, got none: {error.strerror}") from error
        if not content:  # sentencepiece takes it for a model without pieces
            raise PipelineError(f"{path}: expected a sentencepiece model, got a file of 0 bytes; download it again")
        try:
            self._oracle = sentencepiece.SentencePieceProcessor(model_proto=content)
        except RuntimeError as error:
            raise PipelineError(
                f"{path}: expected a sentencepiece model, got one that cannot be read: {first_line(error)}; "
                "download it again"
            ) from error
        self._model = _ModelProto.FromString(content)
        trainer = self._model.trainer_spec
        if trainer.model_type != trainer.BPE or trainer.treat_whitespace_as_suffix:
            kind = trainer.ModelType.Name(trainer.model_type)
            raise PipelineError(
                f"{path}: expected a sentencepiece model of BPE that writes spaces before words, got "
                f"{kind}{', spaces behind' if trainer.treat_whitespace_as_suffix else ''}; take the published one"
            )
        kinds = _ModelProto.SentencePiece
        self._kinds = {piece.piece: piece.type for piece in self._model.pieces}
        self._control = [name for name, kind in self._kinds.items() if kind in (kinds.CONTROL, kinds.UNKNOWN)]
        self._own = [name for name, kind in self._kinds.items() if kind == kinds.USER_DEFINED]
        self._normal = {name for name, kind in self._kinds.items() if kind == kinds.NORMAL}
        if kinds.UNUSED in self._kinds.values() or len(self._kinds) != len(self._model.pieces):
            raise PipelineError(
                f"{path}: expected pieces that are all used and differ, got others; take the published one"
            )

    def __len__(self) -> int:
        return len(self._model.pieces)

    def demand(self, ids: Mapping[str, int]) -> None:
        """Makes sure that pieces are there under their ids.

        Raises:
            PipelineError: one is not.
        """
        for name, expected in ids.items():
            got = self._oracle.piece_to_id(name) if name in self._kinds else "no such piece"
            if got != expected:
                raise PipelineError(f"{self._path}: expected {name} to be piece {expected}, got {got}; "
                                    "it is another model's tokenizer, take its own")  # fmt: skip

    def convert(self, commands: Sequence[str] = (), before: Sequence[str] = ()) -> PreTrainedTokenizerFast:
        """The fast tokenizer.

        Args:
            commands: control tokens whose ids follow the pieces.
            before: control tokens that stand before every text.
        """
        tokenizer = Tokenizer(
            models.BPE(
                vocab={piece.piece: i for i, piece in enumerate(self._model.pieces)},
                merges=self._merges(),
                unk_token=self._model.pieces[self._oracle.unk_id()].piece,
                fuse_unk=True,
                byte_fallback=self._model.trainer_spec.byte_fallback,
            )
        )
        spec = self._model.normalizer_spec
        steps: list[Any] = []
        if spec.precompiled_charsmap:
            steps.append(normalizers.Precompiled(spec.precompiled_charsmap))
        if spec.remove_extra_whitespaces:
            steps += [normalizers.Replace(Regex("^ +"), ""), normalizers.Replace(Regex(" {2,}"), " ")]
        if spec.add_dummy_prefix:
            steps.append(normalizers.Prepend(_SPACE))
        if spec.escape_whitespaces:
            steps.append(normalizers.Replace(" ", _SPACE))
        if spec.remove_extra_whitespaces:  # at the end only now, so that what the user typed as _SPACE goes too
            steps.append(normalizers.Replace(Regex(f"{_SPACE if spec.escape_whitespaces else ' '}+$"), ""))
        tokenizer.normalizer = normalizers.Sequence(steps)
        apart = sorted((name for name in self._own if self._in_text(name)), key=len, reverse=True)
        if apart:
            # They never join with what stands beside them.
            tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("|".join(map(re.escape, apart))), "isolated")
        tokenizer.decoder = decoders.Sequence(
            [decoders.Replace(_SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
            + [decoders.Strip(" ", 1, 0)] * spec.add_dummy_prefix
        )
        own = [name for name in self._own if not self._in_text(name)]
        special = [*self._control, *(name for name in own if _RESERVED.fullmatch(name)), *commands]
        tokenizer.add_special_tokens([_added(name, special=True) for name in special])
        tokenizer.add_tokens([_added(name, special=False) for name in own if not _RESERVED.fullmatch(name)])
        if before:
            both = " ".join(before)
            tokenizer.post_processor = processors.TemplateProcessing(
                single=f"{both} $A",
                pair=f"{both} $A $B",
                special_tokens=[(name, tokenizer.token_to_id(name)) for name in before],
            )
        unknown, start, end = (self._oracle.id_to_piece(i) for i in self._ends())
        return PreTrainedTokenizerFast(
            tokenizer_object=tokenizer,
            bos_token=start,
            eos_token=end,
            unk_token=unknown,
            pad_token=unknown,
            extra_special_tokens=list(commands),
            padding_side="left",
            clean_up_tokenization_spaces=False,
        )

    def check(self, tokenizer: PreTrainedTokenizerBase) -> int:
        """Compares a tokenizer with sentencepiece on texts of all kinds and on every piece; gives how many differ.

        Raises:
            PipelineError: one of the texts is encoded otherwise, or more than 1 in 1,000 pieces.
        """
        for probe in PROBES:
            got, expected = self._pair(tokenizer, probe)
            if got != expected:
                raise PipelineError(
                    f"{self._path}: expected the converted tokenizer to encode {probe!r} as sentencepiece does, "
                    f"{expected}, got {got}; it is of an unknown kind and was not converted, report it"
                )
        texts = [name.replace(_SPACE, " ") for name in self._normal]
        pairs = ((text, *self._pair(tokenizer, text)) for text in texts)
        wrong = [text for text, got, expected in pairs if got != expected]
        if len(wrong) > len(texts) * _TOLERATED:
            raise PipelineError(
                f"{self._path}: expected every piece to be encoded as sentencepiece does, got {len(wrong)} of "
                f"{len(texts)} otherwise, {wrong[0]!r} among them; it is of an unknown kind and was not converted, "
                "report it"
            )
        return len(wrong)

    def encode(self, text: str) -> list[int]:
        """What sentencepiece itself gives."""
        return list(self._oracle.encode(text))

    def _pair(self, tokenizer: PreTrainedTokenizerBase, text: str) -> tuple[list[int], list[int]]:
        ids = tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        return list(ids), self.encode(text)

    def _ends(self) -> tuple[int, int, int]:
        return self._oracle.unk_id(), self._oracle.bos_id(), self._oracle.eos_id()

    def _in_text(self, name: str) -> bool:
        """Whether a symbol of the user's own is a piece of ordinary text, such as a line feed or a run of spaces.

        Others are added tokens. These must not be: they would be taken for control tokens.
        """
        return len(name) == 1 or _SPACE in name

    def _merges(self) -> list[tuple[str, str]]:
        """The pairs that become a piece, those of the best piece first."""
        joined = self._normal | {name for name in self._own if self._in_text(name)}
        found: list[tuple[float, int, int, tuple[str, str]]] = []
        for i, piece in enumerate(self._model.pieces):
            if piece.piece in joined:
                found += [(-piece.score, i, -cut, pair) for cut, pair in _cuts(piece.piece) if joined.issuperset(pair)]
        return [pair for *_, pair in sorted(found)]


def _cuts(piece: str) -> Iterable[tuple[int, tuple[str, str]]]:
    return ((cut, (piece[:cut], piece[cut:])) for cut in range(1, len(piece)))


def _added(name: str, *, special: bool) -> AddedToken:
    return AddedToken(name, special=special, normalized=False)
