"""A LoRA layer that computes in the activations' numbers: PEFT's own copies them to fp32 and back in every layer."""

from typing import Any

import torch
from peft.tuners import lora


class _LoraFunction(torch.autograd.Function):
    """``y = x W' + b + s (x A') B'`` (Hu et al. 2021, W frozen), and its gradient, in few passes over memory.

    Shapes: x ``(..., in)``, W ``(out, in)``, A ``(r, in)``, B ``(out, r)``. A and B may hold more digits than x; they
    and their gradients are rounded to those of x here, what the optimizer does with them is not.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        a: torch.Tensor,
        b: torch.Tensor,
        scaling: float,
    ) -> torch.Tensor:
        """The layer's output ``(..., out)``."""
        rows = x.reshape(-1, x.shape[-1])
        down, up = a.to(x.dtype), (b * scaling).to(x.dtype)
        hidden = rows @ down.t()
        output = torch.nn.functional.linear(rows, weight, bias).addmm_(hidden, up.t())
        ctx.save_for_backward(rows, weight, down, up, hidden)
        ctx.shape, ctx.scaling, ctx.dtype = x.shape, scaling, a.dtype
        return output.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Gradients of x, A and B."""
        rows, weight, down, up, hidden = ctx.saved_tensors
        gradient = gradients[0].reshape(-1, weight.shape[0])
        of_hidden = gradient @ up
        of_x = (gradient @ weight).addmm_(of_hidden, down).view(ctx.shape) if ctx.needs_input_grad[0] else None
        of_a = (of_hidden.t() @ rows).to(ctx.dtype)
        of_b = (gradient.t() @ hidden).to(ctx.dtype).mul_(ctx.scaling)
        return of_x, None, None, of_a, of_b, None


class LoraLinear(lora.Linear):
    """PEFT's LoRA around a linear layer whose weights are plain numbers; the saved adapter is the same."""

    def forward(self, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        """The layer's output; what is more than one plain adapter (dropout, DoRA, merged) is left to PEFT."""
        output: torch.Tensor
        names = self.active_adapters
        plain = len(names) == 1 and names[0] in self.lora_A and names[0] not in self.lora_variant
        if not plain or args or kwargs or self.merged or self.disable_adapters:
            output = super().forward(x, *args, **kwargs)
            return output
        (name,) = names
        down, up = self.lora_A[name], self.lora_B[name]
        if up.bias is not None or (self.training and not isinstance(self.lora_dropout[name], torch.nn.Identity)):
            output = super().forward(x)
            return output
        base = self.get_base_layer()
        output = _LoraFunction.apply(x, base.weight, base.bias, down.weight, up.weight, self.scaling[name])  # type: ignore[no-untyped-call]
        return output


def in_few_passes(config: lora.LoraConfig) -> lora.LoraConfig:
    """The same adapter with ``LoraLinear`` for its layers of plain numbers; quantised ones stay PEFT's own."""
    config._register_custom_module({torch.nn.Linear: LoraLinear})
    return config
