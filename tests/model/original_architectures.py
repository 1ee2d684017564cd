"""Small networks of the two families as their publishers built them, with the names of their checkpoints.

Written from the papers ("Baichuan 2: Open Large-scale Language Models", 2023; "GLM-130B", 2022; "RoFormer", 2021) and
from the published configs, as plainly as can be, to hold the converted models against.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

Rotation = Callable[[Tensor, float], Tensor]

BAICHUAN: dict[str, Any] = {
    "architectures": ["BaichuanForCausalLM"],
    "auto_map": {"AutoModelForCausalLM": "modeling_baichuan.BaichuanForCausalLM"},
    "model_type": "baichuan", "hidden_act": "silu", "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2,
    "num_attention_heads": 4, "max_position_embeddings": 256, "model_max_length": 256, "rms_norm_eps": 1e-6,
    "vocab_size": 720, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, "tie_word_embeddings": False,
    "z_loss_weight": 0, "torch_dtype": "float32",
}  # fmt: skip
CHATGLM: dict[str, Any] = {
    "architectures": ["ChatGLMModel"], "auto_map": {"AutoModel": "modeling_chatglm.ChatGLMForConditionalGeneration"},
    "_name_or_path": "local", "model_type": "chatglm", "hidden_size": 64, "ffn_hidden_size": 96, "num_layers": 2,
    # More heads than fit into the hidden size, so that the two are not mistaken for each other.
    "num_attention_heads": 4, "kv_channels": 24, "multi_query_attention": True, "multi_query_group_num": 2,
    "add_qkv_bias": True, "add_bias_linear": False, "apply_query_key_layer_scaling": True, "post_layer_norm": True,
    "apply_residual_connection_post_layernorm": False, "layernorm_epsilon": 1e-5, "rmsnorm": True,
    "original_rope": True, "padded_vocab_size": 720, "seq_length": 256, "eos_token_id": 2, "pad_token_id": 0,
    "tie_word_embeddings": False, "torch_dtype": "float32",
}  # fmt: skip


class RMSNorm(nn.Module):
    def __init__(self, size: int, epsilon: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.epsilon = epsilon

    def forward(self, x: Tensor) -> Tensor:
        return self.weight * x / torch.sqrt(x.square().mean(-1, keepdim=True) + self.epsilon)


def rotate_halves(x: Tensor, base: float) -> Tensor:
    """``x`` is ``(rows, tokens, heads, width)``; number i turns with number i + width / 2."""
    half = x.shape[-1] // 2
    cos, sin = turns(x, half, base)
    first, second = x[..., :half], x[..., half:]
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)


def rotate_neighbours(x: Tensor, base: float) -> Tensor:
    """``x`` is ``(rows, tokens, heads, width)``; number 2 i turns with number 2 i + 1."""
    cos, sin = turns(x, x.shape[-1] // 2, base)
    first, second = x[..., 0::2], x[..., 1::2]
    return torch.stack([first * cos - second * sin, second * cos + first * sin], dim=-1).flatten(-2)


def turns(x: Tensor, pairs: int, base: float) -> tuple[Tensor, Tensor]:
    angles = torch.outer(torch.arange(x.shape[1]).float(), base ** (-torch.arange(pairs).float() / pairs))
    return angles.cos()[:, None], angles.sin()[:, None]


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Causal attention; each is ``(rows, tokens, heads, width)``, the result ``(rows, tokens, heads * width)``."""
    scores = torch.einsum("bqhd,bkhd->bhqk", q, k) / q.shape[-1] ** 0.5
    future = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
    return torch.einsum("bhqk,bkhd->bqhd", scores.masked_fill(future, -torch.inf).softmax(-1), v).flatten(2)


class BaichuanAttention(nn.Module):
    def __init__(self, config: Mapping[str, Any], rotate: Rotation) -> None:
        super().__init__()
        size = config["hidden_size"]
        self.heads, self.rotate = config["num_attention_heads"], rotate
        self.W_pack = nn.Linear(size, 3 * size, bias=False)
        self.o_proj = nn.Linear(size, size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.W_pack(x).unflatten(-1, (3, self.heads, -1)).unbind(2)
        mixed: Tensor = self.o_proj(attend(self.rotate(q, 10000.0), self.rotate(k, 10000.0), v))
        return mixed


class BaichuanMLP(nn.Module):
    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        size, inner = config["hidden_size"], config["intermediate_size"]
        self.gate_proj = nn.Linear(size, inner, bias=False)
        self.up_proj = nn.Linear(size, inner, bias=False)
        self.down_proj = nn.Linear(inner, size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        mixed: Tensor = self.down_proj(nn.functional.silu(self.gate_proj(x)) * self.up_proj(x))
        return mixed


class BaichuanLayer(nn.Module):
    def __init__(self, config: Mapping[str, Any], rotate: Rotation) -> None:
        super().__init__()
        self.self_attn = BaichuanAttention(config, rotate)
        self.mlp = BaichuanMLP(config)
        self.input_layernorm = RMSNorm(config["hidden_size"], config["rms_norm_eps"])
        self.post_attention_layernorm = RMSNorm(config["hidden_size"], config["rms_norm_eps"])

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x))
        return x + self.mlp(self.post_attention_layernorm(x))  # type: ignore[no-any-return]


class Baichuan2(nn.Module):
    """Baichuan2-7B: the output layer's rows have the norm 1 wherever it is used, but not on the disk."""

    def __init__(self, config: Mapping[str, Any], rotate: Rotation = rotate_halves) -> None:
        super().__init__()
        self.model = nn.Module()
        self.model.embed_tokens = nn.Embedding(config["vocab_size"], config["hidden_size"])
        self.model.layers = nn.ModuleList(BaichuanLayer(config, rotate) for _ in range(config["num_hidden_layers"]))
        self.model.norm = RMSNorm(config["hidden_size"], config["rms_norm_eps"])
        self.lm_head = nn.Linear(config["hidden_size"], config["vocab_size"], bias=False)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.model.embed_tokens(ids)  # type: ignore[operator]
        for layer in self.model.layers:  # type: ignore[union-attr]
            x = layer(x)
        head = self.lm_head.weight / self.lm_head.weight.norm(dim=1, keepdim=True)
        return self.model.norm(x) @ head.T  # type: ignore[operator, no-any-return]


class ChatGLMAttention(nn.Module):
    def __init__(self, config: Mapping[str, Any], rotate: Rotation) -> None:
        super().__init__()
        self.heads, self.groups = config["num_attention_heads"], config["multi_query_group_num"]
        self.width, self.rotate = config["kv_channels"], rotate
        self.base = 10000.0 * config.get("rope_ratio", 1)
        packed = (self.heads + 2 * self.groups) * self.width
        self.query_key_value = nn.Linear(config["hidden_size"], packed, bias=config["add_qkv_bias"])
        self.dense = nn.Linear(self.heads * self.width, config["hidden_size"], bias=False)

    def forward(self, x: Tensor) -> Tensor:
        packed = self.query_key_value(x).unflatten(-1, (-1, self.width))
        q, k, v = packed.split([self.heads, self.groups, self.groups], dim=2)
        q, k = self._turned(q), self._turned(k)
        # Neighbouring heads share the keys and values of a group.
        k, v = (each.repeat_interleave(self.heads // self.groups, dim=2) for each in (k, v))
        mixed: Tensor = self.dense(attend(q, k, v))
        return mixed

    def _turned(self, x: Tensor) -> Tensor:
        half = self.width // 2  # the other half has no positions
        return torch.cat([self.rotate(x[..., :half], self.base), x[..., half:]], dim=-1)


class ChatGLMMLP(nn.Module):
    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        self.dense_h_to_4h = nn.Linear(config["hidden_size"], 2 * config["ffn_hidden_size"], bias=False)
        self.dense_4h_to_h = nn.Linear(config["ffn_hidden_size"], config["hidden_size"], bias=False)

    def forward(self, x: Tensor) -> Tensor:
        gate, up = self.dense_h_to_4h(x).chunk(2, dim=-1)
        mixed: Tensor = self.dense_4h_to_h(nn.functional.silu(gate) * up)
        return mixed


class ChatGLMLayer(nn.Module):
    def __init__(self, config: Mapping[str, Any], rotate: Rotation) -> None:
        super().__init__()
        self.input_layernorm = RMSNorm(config["hidden_size"], config["layernorm_epsilon"])
        self.self_attention = ChatGLMAttention(config, rotate)
        self.post_attention_layernorm = RMSNorm(config["hidden_size"], config["layernorm_epsilon"])
        self.mlp = ChatGLMMLP(config)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.self_attention(self.input_layernorm(x))
        return x + self.mlp(self.post_attention_layernorm(x))  # type: ignore[no-any-return]


class ChatGLM3(nn.Module):
    """ChatGLM3-6B, with the frequencies that its checkpoints hold and that nothing is computed from."""

    def __init__(self, config: Mapping[str, Any], rotate: Rotation = rotate_neighbours) -> None:
        super().__init__()
        self.transformer = nn.Module()
        self.transformer.embedding = nn.Module()
        self.transformer.embedding.word_embeddings = nn.Embedding(config["padded_vocab_size"], config["hidden_size"])
        self.transformer.rotary_pos_emb = nn.Module()
        self.transformer.rotary_pos_emb.register_buffer("inv_freq", torch.arange(6).float())
        self.transformer.encoder = nn.Module()
        self.transformer.encoder.layers = nn.ModuleList(
            ChatGLMLayer(config, rotate) for _ in range(config["num_layers"])
        )
        self.transformer.encoder.final_layernorm = RMSNorm(config["hidden_size"], config["layernorm_epsilon"])
        self.transformer.output_layer = nn.Linear(config["hidden_size"], config["padded_vocab_size"], bias=False)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.transformer.embedding.word_embeddings(ids)  # type: ignore[union-attr, operator]
        for layer in self.transformer.encoder.layers:  # type: ignore[union-attr]
            x = layer(x)
        x = self.transformer.encoder.final_layernorm(x)  # type: ignore[union-attr, operator]
        return self.transformer.output_layer(x)  # type: ignore[operator, no-any-return]


def randomise(network: nn.Module, seed: int = 0) -> None:
    """Random weights with which every part of the network shows in the logits.

    Embeddings so small that the epsilon of the first norm counts, attention sharp enough that positions do, norms and
    biases that are not the usual ones and zeros.
    """
    generator = torch.Generator().manual_seed(seed)
    for name, weight in network.named_parameters():
        values = torch.randn(weight.shape, generator=generator)
        if "embed" in name:
            values *= 0.003
        elif "norm" in name:
            values = 1 + values / 4
        elif any(part in name for part in ("W_pack", "query_key_value")):
            values *= 0.12
        elif any(part in name for part in ("lm_head", "output_layer")):
            values *= 0.15
        else:
            values *= 0.1
        weight.data = values


def write_checkpoint(
    folder: Path, network: nn.Module, config: Mapping[str, Any], *, safetensors: bool = True, shards: int = 1
) -> Path:
    """Writes a network as its publisher would: config and weights, in one file or in several with an index."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    tensors = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    stem, suffix = ("model", "safetensors") if safetensors else ("pytorch_model", "bin")
    names = list(tensors)
    weight_map: dict[str, str] = {}
    for i in range(shards):
        file = f"{stem}.{suffix}" if shards == 1 else f"{stem}-{i + 1:05d}-of-{shards:05d}.{suffix}"
        part = {name: tensors[name] for name in names[i * len(names) // shards : (i + 1) * len(names) // shards]}
        weight_map |= dict.fromkeys(part, file)
        if safetensors:
            save_file(part, folder / file, metadata={"format": "pt"})
        else:
            torch.save(part, folder / file)
    if shards > 1:
        index = {"metadata": {}, "weight_map": weight_map}
        (folder / f"{stem}.{suffix}.index.json").write_text(json.dumps(index), encoding="utf-8")
    return folder
