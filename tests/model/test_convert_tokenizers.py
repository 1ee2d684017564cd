"""Converted tokenizers against sentencepiece itself, on texts that hypothesis makes up."""

from pathlib import Path

import original_tokenizers
import pytest
import sentencepiece
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer, GlmConfig, LlamaConfig, PreTrainedTokenizerBase

from pipeline.errors import PipelineError
from pipeline.families import Name, asked_as
from pipeline.model import sentencepiece_bpe
from pipeline.model.encoding import Encoder
from pipeline.model.sentencepiece_bpe import PROBES, SentencepieceBpe
from pipeline.task import Task

COMMANDS = (
    "[MASK]",
    "[gMASK]",
    "[sMASK]",
    "<sop>",
    "<eop>",
    "<|system|>",
    "<|user|>",
    "<|assistant|>",
    "<|observation|>",
)
LOOK_ALIKES = (
    *("<unk>", "<s>", "</s>", "<0x0A>", "[gMASK]", "sop", "eop", "<sop>", "<|user|>", "<|im_end|>", "<bos>"),
    *("<filler_1", "<filler>", "<", ">", "▁", "▁▁", "<reserved_", "106>"),
)
SPACES = (" ", "  ", "   ", "     ", "\n", "\n\n", "\r\n", "\t", "\u00a0", "\u3000", "\u200b", "\u200d", "\ufe0f")
FRAGMENTS = st.one_of(
    st.sampled_from([*original_tokenizers.WORDS, *LOOK_ALIKES, *SPACES]),
    st.text(st.characters(codec="utf-8"), max_size=6),
    st.integers(0, 10**7).map(str),
    st.sampled_from("aeo!.。いи🚀 ").flatmap(lambda character: st.integers(1, 12).map(lambda n: character * n)),
)
TEXTS = st.lists(FRAGMENTS, max_size=12).map("".join)


def convert(
    content: bytes, folder: Path, *, commands: tuple[str, ...] = (), llama: bool = True
) -> PreTrainedTokenizerBase:
    """The tokenizer as AutoTokenizer loads it from a model folder."""
    path = folder / "tokenizer.model"
    path.write_bytes(content)
    before = ("[gMASK]", "<sop>") if commands else ()
    out = folder / "model"
    SentencepieceBpe(path).convert(commands, before).save_pretrained(out)
    (LlamaConfig() if llama else GlmConfig()).save_pretrained(out)
    return AutoTokenizer.from_pretrained(out, trust_remote_code=False)


@pytest.fixture(scope="module", params=["baichuan2", "chatglm3"])
def pair(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, PreTrainedTokenizerBase, sentencepiece.SentencePieceProcessor]:
    """The family, its tokenizer, and sentencepiece."""
    family, folder = request.param, tmp_path_factory.mktemp(request.param)
    baichuan = family == "baichuan2"
    content = original_tokenizers.baichuan_model() if baichuan else original_tokenizers.chatglm_model()
    tokenizer = convert(content, folder, commands=() if baichuan else COMMANDS, llama=baichuan)
    return family, tokenizer, sentencepiece.SentencePieceProcessor(model_proto=content)


def plain(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"])


@settings(
    max_examples=1500, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(text=TEXTS)
def test_ids_and_text_are_those_of_sentencepiece(
    pair: tuple[str, PreTrainedTokenizerBase, sentencepiece.SentencePieceProcessor], text: str
) -> None:
    _, tokenizer, oracle = pair
    ids = plain(tokenizer, text)
    assert ids == oracle.encode(text), text
    assert tokenizer.decode(ids) == oracle.decode(ids)


def test_every_probe_is_encoded_alike(
    pair: tuple[str, PreTrainedTokenizerBase, sentencepiece.SentencePieceProcessor],
) -> None:
    _, tokenizer, oracle = pair
    assert [plain(tokenizer, probe) for probe in PROBES] == [oracle.encode(probe) for probe in PROBES]


def test_control_tokens(pair: tuple[str, PreTrainedTokenizerBase, sentencepiece.SentencePieceProcessor]) -> None:
    family, tokenizer, oracle = pair
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id) == (1, 2, 0)
    assert tokenizer.padding_side == "left"
    if family == "baichuan2":
        assert tokenizer.convert_tokens_to_ids(["<reserved_106>", "<reserved_107>"]) == [195, 196]
        text = "<reserved_106>love it\n<reserved_107>"
        assert tokenizer(text)["input_ids"] == oracle.encode(text)
        # Only where they are meant: in a tweet the same characters are text, which sentencepiece cannot do.
        assert not {195, 196} & set(plain(tokenizer, text))
        assert tokenizer.decode(plain(tokenizer, text)) == text
        return
    first = oracle.get_piece_size()
    assert tokenizer.convert_tokens_to_ids(list(COMMANDS)) == list(range(first, first + 9))
    assert tokenizer("moon")["input_ids"] == [first + 1, first + 3, *oracle.encode("moon")]
    ids = tokenizer("<|user|>\n", add_special_tokens=False)["input_ids"]
    assert ids == [first + 6, *oracle.encode("\n")]
    assert tokenizer.convert_ids_to_tokens(ids[1:]) == ["▁", "<0x0A>"]
    # The publisher's words sop and eop are no tokens: as such they would be cut out of others.
    assert tokenizer("people stop")["input_ids"][2:] == oracle.encode("people stop")


def test_prompts_have_the_ids_that_the_original_programs_make(
    pair: tuple[str, PreTrainedTokenizerBase, sentencepiece.SentencePieceProcessor],
) -> None:
    """Both programs encode every part of a chat by itself, and put the ids of control tokens between."""
    family, tokenizer, oracle = pair
    name: Name = "baichuan2" if family == "baichuan2" else "chatglm3"
    encoder = Encoder(tokenizer, asked_as(Task(), name, tokenizer), 256)
    asked, tweet = oracle.encode(Task().instruction), oracle.encode("love it")
    if name == "baichuan2":
        expected = [*asked, 195, *tweet, 196]
    else:
        mask, sop, system, user, assistant = (oracle.get_piece_size() + i for i in (1, 3, 5, 6, 7))
        line = oracle.encode("\n")
        expected = [mask, sop, system, *line, *asked, user, *line, *tweet, assistant, *line]
    assert encoder.prompt("love it").ids == expected
    assert encoder.completions["Neutral"] == [*oracle.encode("Neutral"), 2]


@pytest.mark.parametrize("wrong", ["by id", "worst first"])
def test_another_order_of_the_merges_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: str) -> None:
    content = original_tokenizers.baichuan_model()
    (tmp_path / "tokenizer.model").write_bytes(content)
    pieces = SentencepieceBpe(tmp_path / "tokenizer.model")
    right = pieces._merges()
    ids = {piece.piece: i for i, piece in enumerate(pieces._model.pieces)}
    order = sorted(right, key=lambda both: ids["".join(both)]) if wrong == "by id" else right[::-1]
    monkeypatch.setattr(SentencepieceBpe, "_merges", lambda _: order)
    with pytest.raises(PipelineError, match="as sentencepiece does"):
        pieces.check(pieces.convert())


@pytest.mark.parametrize("change", ["prefix", "bytes", "normalised", "whitespace"])
def test_a_tokenizer_that_differs_is_refused(tmp_path: Path, change: str) -> None:
    options = {
        "prefix": {"dummy_prefix": True},
        "bytes": {"dummy_prefix": False, "byte_fallback": False},
        "normalised": {"dummy_prefix": False, "normalization_rule_name": "nmt_nfkc_cf"},
        "whitespace": {"dummy_prefix": False, "remove_extra_whitespaces": True},
    }[change]
    (tmp_path / "tokenizer.model").write_bytes(original_tokenizers.train(dummy_prefix=False))
    (tmp_path / "other.model").write_bytes(original_tokenizers.train(**options))  # type: ignore[arg-type]
    other = SentencepieceBpe(tmp_path / "other.model")
    with pytest.raises(PipelineError, match=r"tokenizer\.model: expected the converted tokenizer to encode"):
        SentencepieceBpe(tmp_path / "tokenizer.model").check(other.convert())


@pytest.mark.parametrize("options", [{"remove_extra_whitespaces": True}, {"byte_fallback": False}])
@settings(
    max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(text=TEXTS)
def test_other_settings_of_sentencepiece_are_followed_too(tmp_path: Path, options: dict[str, bool], text: str) -> None:
    key = f"{sorted(options)}"
    if key not in OTHERS:
        content = original_tokenizers.train(dummy_prefix=True, **options)
        (tmp_path / "tokenizer.model").write_bytes(content)
        OTHERS[key] = SentencepieceBpe(tmp_path / "tokenizer.model").convert(), content
    tokenizer, content = OTHERS[key]
    assert plain(tokenizer, text) == sentencepiece.SentencePieceProcessor(model_proto=content).encode(text)


def test_symbols_of_the_users_own_join_with_nothing(tmp_path: Path) -> None:
    content = original_tokenizers.with_own(original_tokenizers.train(dummy_prefix=False, own=("▁▁",)), "o", "e")
    (tmp_path / "tokenizer.model").write_bytes(content)
    tokenizer = SentencepieceBpe(tmp_path / "tokenizer.model").convert()
    oracle = sentencepiece.SentencePieceProcessor(model_proto=content)
    texts = ["love  people", "moon  stop the price", "oo ee", "hodl", *original_tokenizers.WORDS]
    assert [plain(tokenizer, text) for text in texts] == [oracle.encode(text) for text in texts]
    assert "love" in [piece for piece in tokenizer.get_vocab() if "o" in piece]


OTHERS: dict[str, tuple[PreTrainedTokenizerBase, bytes]] = {}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"<html>", "expected a sentencepiece model, got one that cannot be read"),
        (b"", "expected a sentencepiece model"),
        (None, "expected a sentencepiece model, got none: No such file"),
        ("unigram", "expected a sentencepiece model of BPE .* got UNIGRAM; take the published"),
    ],
)
def test_what_is_no_such_model_is_refused(tmp_path: Path, content: bytes | str | None, message: str) -> None:
    path = tmp_path / "tokenizer.model"
    if content == "unigram":
        content = original_tokenizers.train(dummy_prefix=True, model_type="unigram", pieces=500)
    if isinstance(content, bytes):
        path.write_bytes(content)
    with pytest.raises(PipelineError, match=message):
        SentencepieceBpe(path)


def test_probes_hold_what_leads_tokenizers_astray() -> None:
    text = "".join(sentencepiece_bpe.PROBES)
    assert all(mark in text for mark in (" ", "\n", "▁", "🚀", "比", "<0x0A>", "eopsop", "\x00"))
