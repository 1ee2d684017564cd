"""Small sentencepiece models as the two families have them, trained here on made-up text, and their other files."""

import functools
import io
import json
import random
from pathlib import Path
from typing import Any

import sentencepiece
from sentencepiece import sentencepiece_model_pb2

_TEXT = """
    bitcoin moon love hate people stop the price crash sleep kaboom aaaa hodl to of and rekt
    über straße für café naïve señor größe 比特币 涨 今天 市场 世界 你好 我们 喜欢
    こんにちは 世界 ありがとう мир привет рынок биткоин 안녕하세요 مرحبا ไทย
    2021 12 345 6789 3% $BTC #eth @user ... !!! ??? 🚀 🌕 😭 👍
"""
WORDS = tuple(_TEXT.split())
# As in Baichuan2: a line feed, runs of spaces, and so many others that the two that mark turns are 195 and 196.
OWN = ("\n", "▁▁", "▁▁▁▁", *(f"<filler_{i}>" for i in range(189)), "<reserved_106>", "<reserved_107>")
# What ChatGLM3's own tokenizer file holds; it would leave a mark if it were run.
REMOTE_CODE = """
from pathlib import Path
(Path(__file__).parent / "RAN").touch()
role_special_tokens = ["<|system|>", "<|user|>", "<|assistant|>", "<|observation|>"]
class ChatGLMTokenizer: ...
"""


@functools.cache
def train(*, dummy_prefix: bool, own: tuple[str, ...] = (), pieces: int = 680, **options: Any) -> bytes:
    """A BPE model with byte fallback and untouched white space."""
    rng = random.Random(0)
    lines = []
    for _ in range(1500):
        words = rng.choices(WORDS, k=rng.randint(2, 9))
        lines.append("".join(word + rng.choice([" ", " ", " ", "", "  ", ", "]) for word in words))
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines),
        model_writer=model,
        vocab_size=pieces,
        **{
            "model_type": "bpe",
            "byte_fallback": True,
            "add_dummy_prefix": dummy_prefix,
            "normalization_rule_name": "identity",
            "remove_extra_whitespaces": False,
            "user_defined_symbols": list(own),
            "character_coverage": 0.995,
            "hard_vocab_limit": False,
            "num_threads": 1,
            "minloglevel": 2,
            **options,
        },
    )
    return model.getvalue()


def shuffled(content: bytes, seed: int = 0) -> bytes:
    """The same model with its ordinary pieces, with their scores, under each other's ids."""
    model = sentencepiece_model_pb2.ModelProto.FromString(content)  # type: ignore[attr-defined]
    ordinary = [i for i, piece in enumerate(model.pieces) if piece.type == piece.NORMAL]
    facts = [(model.pieces[i].piece, model.pieces[i].score) for i in ordinary]
    random.Random(seed).shuffle(facts)
    for i, (name, score) in zip(ordinary, facts, strict=True):
        model.pieces[i].piece, model.pieces[i].score = name, score
    return bytes(model.SerializeToString())


def with_own(content: bytes, *names: str) -> bytes:
    """The same model with some of its pieces as symbols of the user's own, though others hold them too."""
    model = sentencepiece_model_pb2.ModelProto.FromString(content)  # type: ignore[attr-defined]
    for piece in model.pieces:
        if piece.piece in names:
            piece.type = piece.USER_DEFINED
    return bytes(model.SerializeToString())


def baichuan_model() -> bytes:
    """As Baichuan2's: no dummy prefix, symbols of its own, ids in another order than scores."""
    return shuffled(train(dummy_prefix=False, own=OWN))


def chatglm_model() -> bytes:
    """As ChatGLM3's: a dummy prefix."""
    return train(dummy_prefix=True)


def write_baichuan_tokenizer(folder: Path) -> None:
    settings = {
        "tokenizer_class": "BaichuanTokenizer",
        "add_bos_token": False,
        "auto_map": {"AutoTokenizer": ["a.B", None]},
    }
    (folder / "tokenizer.model").write_bytes(baichuan_model())
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")


def write_chatglm_tokenizer(folder: Path) -> None:
    settings = {"tokenizer_class": "ChatGLMTokenizer", "auto_map": {"AutoTokenizer": ["tokenization_chatglm.C", None]}}
    (folder / "tokenizer.model").write_bytes(chatglm_model())
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    (folder / "tokenization_chatglm.py").write_text(REMOTE_CODE, encoding="utf-8")
