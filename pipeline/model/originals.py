"""Checkpoints that need remote code, Baichuan2-7B and ChatGLM3-6B, and the native models that compute the same.

What a checkpoint is, is read from its files; none of its Python is run. Look-alikes, which have the same ``model_type``
but compute otherwise, are refused.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from huggingface_hub.errors import StrictDataclassError
from transformers import GlmConfig, LlamaConfig
from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

from pipeline.artifacts import read_json
from pipeline.errors import PipelineError, first_line

CONVERTED_FROM = "converted_from"
"""Key in the config of a converted model that names its family."""

_ROLES = ("<|system|>", "<|user|>", "<|assistant|>", "<|observation|>")
# The publisher calls two of them sop and eop; as words these are parts of others, such as people.
_COMMANDS = ("[MASK]", "[gMASK]", "[sMASK]", "<sop>", "<eop>", *_ROLES)
# Where ChatGLM3 names its roles, for people, its own tokenizer, or transformers.
_ROLE_FILES = ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "tokenization_chatglm.py")


@dataclass(frozen=True)
class Move:
    """What becomes of one tensor: parts of its rows under new names.

    ``rows`` are the rows of each part, in order. ``unit_rows`` says that each row is divided by its Euclidean norm.
    """

    targets: tuple[str, ...]
    rows: tuple[int, ...] | None = None
    unit_rows: bool = False


@dataclass(frozen=True)
class Original:
    """A checkpoint that can be converted.

    ``config`` is that of the native model. ``leaves`` are the names of a layer's tensors, behind ``layer`` and its
    number, each with what it becomes; where that is several, they get so many rows as ``parts`` says. ``others`` are
    the tensors outside of layers; those ``ignored`` are no weights, but computed from the config. With ``unit_head``
    the rows of the output layer get the norm 1.

    ``commands`` are control tokens whose ids follow the pieces of the tokenizer, ``before`` those that stand before
    every text, and ``pieces`` some that it must have, with their ids. ``ids`` are those of commands, as far as the
    checkpoint tells them.
    """

    family: str
    config: Any
    layer: str
    leaves: Mapping[str, tuple[str, ...]]
    others: Mapping[str, str]
    ignored: re.Pattern[str]
    parts: tuple[int, ...]
    commands: tuple[str, ...] = ()
    before: tuple[str, ...] = ()
    pieces: Mapping[str, int] = field(default_factory=dict)
    ids: Mapping[str, int] = field(default_factory=dict)
    unit_head: bool = False

    def move(self, name: str) -> Move | None:
        """What becomes of the tensor of this name; None where nothing does.

        Raises:
            KeyError: the family has no tensor of this name.
        """
        if self.ignored.fullmatch(name):
            return None
        if name in self.others:
            target = self.others[name]
            return Move((target,), unit_rows=self.unit_head and target == "lm_head.weight")
        found = re.fullmatch(re.escape(self.layer) + r"(\d+)\.(.+)", name)
        if not found or found[2] not in self.leaves:
            raise KeyError(name)
        targets = tuple(f"model.layers.{found[1]}.{leaf}" for leaf in self.leaves[found[2]])
        return Move(targets, self.parts if len(targets) > 1 else None)


def recognise(source: Path) -> Original:
    """What the checkpoint in a folder is, by its config and its tokenizer's files.

    Raises:
        PipelineError: it is none that can be converted; the line says which it is and by what it was told.
    """
    config = read_json(source / "config.json")
    kind = config.get("model_type") if isinstance(config, dict) else None
    if kind == "baichuan":
        return _baichuan(_Settings(source, config))
    if kind == "chatglm":
        return _chatglm(_Settings(source, config))
    if isinstance(kind, str) and kind in CONFIG_MAPPING_NAMES:
        raise PipelineError(
            f"{source}: expected Baichuan2-7B or ChatGLM3-6B, got model_type {kind!r}, which is native: needs no "
            "conversion; give it to --base_model as it is"
        )
    raise PipelineError(
        f"{source / 'config.json'}: expected model_type baichuan or chatglm, got {kind!r}; only Baichuan2-7B and "
        "ChatGLM3-6B can be converted"
    )


class _Settings:
    """The values in a config.json, each read with what it must be."""

    def __init__(self, source: Path, values: Mapping[str, Any]) -> None:
        self.source = source
        self.values = values

    def whole(self, key: str, default: int | None = None) -> int:
        """A count; ``default`` where the family's own config has one."""
        value = self.values.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise PipelineError(
                f"{self.source / 'config.json'}: expected {key} to be a whole number above 0, got {value!r}; "
                "download the checkpoint again"
            )
        return value

    def number(self, key: str, default: float) -> float:
        """A positive number."""
        value = self.values.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
            raise PipelineError(
                f"{self.source / 'config.json'}: expected {key} to be a number above 0, got {value!r}; "
                "download the checkpoint again"
            )
        return float(value)

    def native(self, kind: type[Any], **values: Any) -> Any:
        """A config of transformers, which looks at some of the values for itself."""
        try:
            return kind(**values, **_ENDS)
        except (StrictDataclassError, ValueError, TypeError) as error:
            raise PipelineError(
                f"{self.source / 'config.json'}: expected values that make a {kind.__name__}, got others: "
                f"{first_line(error.__cause__ or error)}; download the checkpoint again"
            ) from error

    def demand(self, expected: Mapping[str, object]) -> None:
        """Makes sure that what would be computed otherwise is switched as in the published checkpoints."""
        for key, value in expected.items():
            if self.values.get(key, value) != value:
                raise PipelineError(
                    f"{self.source / 'config.json'}: expected {key} {value!r}, got {self.values[key]!r}, which the "
                    "native model does not compute; take the published checkpoint"
                )

    def whole_weights(self) -> None:
        """Makes sure that the weights are plain numbers."""
        for key in ("quantization_config", "quantization_bit"):
            if self.values.get(key):
                raise PipelineError(
                    f"{self.source / 'config.json'}: expected whole weights, got {key}; take the checkpoint that was "
                    "quantised, and --precision int8 or nf4 in training"
                )

    def refuse(self, what: str, seen: str, todo: str) -> PipelineError:
        """The error for a look-alike: what it is, by what it was told, what to do."""
        return PipelineError(
            f"{self.source}: expected Baichuan2-7B or ChatGLM3-6B, got {what} ({seen} in config.json); {todo}"
        )


def _baichuan(settings: _Settings) -> Original:
    values = settings.values
    old = "its output layer is another; take Baichuan2-7B"
    # The class of the first 7B is written otherwise, its vocabulary is smaller, and of no first generation the config
    # has the weight of the z-loss, a term of Baichuan2's own.
    if "BaiChuanForCausalLM" in str(values.get("architectures")):
        raise settings.refuse("Baichuan-7B of the first generation", "architectures BaiChuanForCausalLM", old)
    hidden, layers = settings.whole("hidden_size"), settings.whole("num_hidden_layers")
    generation = 2 if "z_loss_weight" in values and values.get("vocab_size") != 64000 else 1
    # ALiBi needs no number of positions, so that a config without one is that of a 13B at any width.
    for seen, is_so in (
        ("hidden_size 5120", hidden == 5120),
        ("num_hidden_layers 40", layers == 40),
        ("no max_position_embeddings", "max_position_embeddings" not in values),
    ):
        if is_so:
            name = "Baichuan2-13B" if generation == 2 else "Baichuan-13B"
            raise settings.refuse(name, seen, "its ALiBi positions have no native model; take Baichuan2-7B")
    if values.get("vocab_size") == 64000:
        raise settings.refuse("Baichuan-7B of the first generation", "vocab_size 64000", old)
    if generation == 1:
        raise settings.refuse("Baichuan-7B of the first generation", "no z_loss_weight", old)
    settings.whole_weights()
    settings.demand({"hidden_act": "silu", "rope_scaling": None, "rope_theta": 10000, "tie_word_embeddings": False})
    heads = settings.whole("num_attention_heads")
    config = settings.native(
        LlamaConfig,
        vocab_size=settings.whole("vocab_size"),
        hidden_size=hidden,
        intermediate_size=settings.whole("intermediate_size"),
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        hidden_act="silu",
        max_position_embeddings=settings.whole("max_position_embeddings"),
        rms_norm_eps=settings.number("rms_norm_eps", 1e-6),
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
        attention_bias=False,
        mlp_bias=False,
        tie_word_embeddings=False,
    )
    same = ("self_attn.o_proj", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj", *_NORMS)
    packed = tuple(f"self_attn.{name}_proj.weight" for name in "qkv")
    top = ("model.embed_tokens.weight", "model.norm.weight", "lm_head.weight")
    return Original(
        family="baichuan2",
        config=config,
        layer="model.layers.",
        leaves={**{f"{name}.weight": (f"{name}.weight",) for name in same}, "self_attn.W_pack.weight": packed},
        others={name: name for name in top},
        ignored=re.compile(r"model\.layers\.\d+\.self_attn\.rotary_emb\.(inv_freq|cos_cached|sin_cached)"),
        parts=(hidden,) * 3,
        before=("<s>",) if _adds_bos(settings.source) else (),
        # What a chat puts before the user's turn and before the answer.
        pieces={"<reserved_106>": 195, "<reserved_107>": 196},
        unit_head=True,
    )


def _chatglm(settings: _Settings) -> Original:
    values = settings.values
    if values.get("position_encoding_2d") is not None or "inner_hidden_size" in values:
        seen = "position_encoding_2d" if "position_encoding_2d" in values else "inner_hidden_size"
        raise settings.refuse("ChatGLM-6B of the first generation", seen, "it is another network; take ChatGLM3-6B")
    if values.get("padded_vocab_size") == 151552 or "ChatGLM4Tokenizer" in _text(settings.source, _ROLE_FILES[0]):
        raise PipelineError(
            f"{settings.source}: expected Baichuan2-7B or ChatGLM3-6B, got GLM-4, which is native: needs no "
            "conversion; download the repository of the same name that ends with -hf"
        )
    settings.whole_weights()
    settings.demand(
        {
            "multi_query_attention": True,
            "add_bias_linear": False,
            "apply_residual_connection_post_layernorm": False,
            "fp32_residual_connection": False,
            "rmsnorm": True,
            "post_layer_norm": True,
            "original_rope": True,
            "pre_seq_len": None,
            "tie_word_embeddings": False,
        }
    )
    if "multi_query_attention" not in values:
        raise settings.refuse("another network", "no multi_query_attention", "take the published checkpoint")
    _demand_roles(settings)
    heads, groups = settings.whole("num_attention_heads"), settings.whole("multi_query_group_num")
    hidden, width = settings.whole("hidden_size"), settings.whole("kv_channels", 128)
    config = settings.native(
        GlmConfig,
        vocab_size=settings.whole("padded_vocab_size", 65024),
        hidden_size=hidden,
        intermediate_size=settings.whole("ffn_hidden_size"),
        num_hidden_layers=settings.whole("num_layers"),
        num_attention_heads=heads,
        num_key_value_heads=groups,
        head_dim=width,
        max_position_embeddings=settings.whole("seq_length"),
        rms_norm_eps=settings.number("layernorm_epsilon", 1e-5),
        attention_bias=bool(values.get("add_qkv_bias", False)),
        rope_parameters={
            "rope_type": "default",
            "rope_theta": 10000.0 * settings.number("rope_ratio", 1),
            "partial_rotary_factor": 0.5,
        },
        tie_word_embeddings=False,
    )
    leaves: dict[str, tuple[str, ...]] = {f"{name}.weight": (f"{name}.weight",) for name in _NORMS}
    leaves["self_attention.dense.weight"] = ("self_attn.o_proj.weight",)
    leaves["mlp.dense_h_to_4h.weight"] = ("mlp.gate_up_proj.weight",)
    leaves["mlp.dense_4h_to_h.weight"] = ("mlp.down_proj.weight",)
    for kind in ("weight", "bias"):
        packed = tuple(f"self_attn.{name}_proj.{kind}" for name in "qkv")
        leaves[f"self_attention.query_key_value.{kind}"] = packed
    return Original(
        family="chatglm3",
        config=config,
        layer="transformer.encoder.layers.",
        leaves=leaves,
        others={
            "transformer.embedding.word_embeddings.weight": "model.embed_tokens.weight",
            "transformer.encoder.final_layernorm.weight": "model.norm.weight",
            "transformer.output_layer.weight": "lm_head.weight",
        },
        ignored=re.compile(r"transformer\.rotary_pos_emb\.inv_freq"),
        parts=(heads * width, groups * width, groups * width),
        commands=_COMMANDS,
        before=("[gMASK]", "<sop>"),
        # The published checkpoints, of this vocabulary, have 64,789 pieces before them.
        ids={_COMMANDS[0]: 64789} if config.vocab_size == 65024 else _told_ids(settings.source),
    )


_NORMS = ("input_layernorm", "post_attention_layernorm")
_ENDS: Mapping[str, int] = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}


def _demand_roles(settings: _Settings) -> None:
    """Makes sure that it is ChatGLM3, whose network is that of ChatGLM2, and so are all numbers in its config.

    What differs is the tokenizer: ChatGLM3 has tokens for roles.
    """
    texts = {name: _text(settings.source, name) for name in _ROLE_FILES}
    if any(role in text for text in texts.values() for role in _ROLES):
        return
    names = [str(settings.values.get("_name_or_path", ""))]
    names += [name for text in texts.values() for name in re.findall(r'"name_or_path":\s*"([^"]*)"', text)]
    if any("chatglm3" in name.lower() for name in names):
        return
    looked = ", ".join(name for name, text in texts.items() if text) or f"none of {', '.join(_ROLE_FILES)} is there"
    known = next((f" named {name!r}" for name in names if name), "")
    raise PipelineError(
        f"{settings.source}: expected ChatGLM3-6B, got a checkpoint{known} without its role tokens such as "
        f"{_ROLES[1]} (looked at {looked}), as ChatGLM2-6B and CodeGeeX2 are, with the same weights by name; if it is "
        "ChatGLM3, put its own tokenizer_config.json and tokenization_chatglm.py beside it, which is read but not run"
    )


def _told_ids(source: Path) -> dict[str, int]:
    """The ids of commands by tokenizer_config.json, as far as they stand there."""
    told = _tokenizer_config(source).get("added_tokens_decoder")
    ours = {"sop": "<sop>", "eop": "<eop>"}
    found = {}
    for i, token in told.items() if isinstance(told, dict) else ():
        name = token.get("content") if isinstance(token, dict) else None
        if isinstance(name, str) and i.isdecimal() and ours.get(name, name) in _COMMANDS:
            found[ours.get(name, name)] = int(i)
    return found


def _adds_bos(source: Path) -> bool:
    """Whether the tokenizer puts a token before every text; Baichuan2's does not."""
    return _tokenizer_config(source).get("add_bos_token") is True


def _tokenizer_config(source: Path) -> dict[str, Any]:
    """The settings of the tokenizer; none where there is no such file."""
    path = source / "tokenizer_config.json"
    settings = read_json(path) if path.is_file() else {}
    return settings if isinstance(settings, dict) else {}


def _text(source: Path, name: str) -> str:
    """The text of a file of the checkpoint; nothing where it is not there."""
    try:
        return (source / name).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
