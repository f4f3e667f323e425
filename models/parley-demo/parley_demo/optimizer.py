"""Muon for the matrices inside the layers, AdamW for the embedding and the norms."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

_MOMENTUM = 0.95
_ITERATIONS = 4


def orthogonalised(matrices: Tensor) -> Tensor:
    """The nearest half-orthogonal matrices, about, by a quintic Newton-Schulz iteration (batch x m x n)."""
    transposed = matrices.shape[1] > matrices.shape[2]
    found = matrices.transpose(1, 2) if transposed else matrices
    found = found / (found.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(_ITERATIONS):
        square = found @ found.transpose(1, 2)
        found = 3.4445 * found + (-4.7750 * square + 2.0315 * square @ square) @ found
    result: Tensor = found.transpose(1, 2) if transposed else found
    return result


class Muon(torch.optim.Optimizer):
    """Momentum whose step is orthogonalised; matrices of one shape are treated together."""

    def __init__(self, parameters: Iterable[nn.Parameter], lr: float, weight_decay: float) -> None:
        super().__init__(list(parameters), {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Apply one step."""
        for group in self.param_groups:
            for alike in self._by_shape(group["params"]):
                self._move(alike, group["lr"], group["weight_decay"])

    @staticmethod
    def _by_shape(parameters: list[nn.Parameter]) -> list[list[nn.Parameter]]:
        groups: dict[torch.Size, list[nn.Parameter]] = {}
        for parameter in parameters:
            groups.setdefault(parameter.shape, []).append(parameter)
        return list(groups.values())

    def _direction(self, parameter: nn.Parameter) -> Tensor:
        assert parameter.grad is not None  # noqa: S101 - every matrix takes part in every step
        state = self.state[parameter]
        momentum: Tensor = state.setdefault("momentum", torch.zeros_like(parameter))
        momentum.lerp_(parameter.grad, 1 - _MOMENTUM)
        return parameter.grad.lerp(momentum, _MOMENTUM)

    def _move(self, alike: list[nn.Parameter], rate: float, decay: float) -> None:
        steps = orthogonalised(torch.stack([self._direction(parameter) for parameter in alike]))
        rows, columns = alike[0].shape
        scale = max(1.0, rows / columns) ** 0.5
        for parameter, step in zip(alike, steps, strict=True):
            parameter.mul_(1 - rate * decay).add_(step, alpha=-rate * scale)


def optimizers(model: nn.Module, muon_rate: float, adam_rate: float) -> list[torch.optim.Optimizer]:
    """Both optimizers, each with its share of the parameters."""
    named = list(model.named_parameters())
    matrices = [parameter for name, parameter in named if parameter.dim() == 2 and "embed" not in name]
    others = [parameter for name, parameter in named if parameter.dim() != 2 or "embed" in name]
    adam = torch.optim.AdamW(others, lr=adam_rate, betas=(0.9, 0.98), weight_decay=0.0, fused=True)
    return [Muon(matrices, muon_rate, weight_decay=0.01), adam]
