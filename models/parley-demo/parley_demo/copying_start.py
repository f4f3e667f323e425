"""Starting weights that can already copy a little.

Heads of the first layer that look at the token before, and heads of the second that look for an earlier
place whose token before was the current one, together go on as the text went on before (an induction
circuit). Small models spend most of their training on a plateau until they find it; laid out in rough at the
start, training refines it at once.
"""

import torch
from torch import Tensor

from parley_demo.model import Attention, Llama, Shape, rotations

# The embedding's first column is the same for all tokens: what reads it sees a position and no token.
_COMMON = 0.16
# Pairs of rotary dimensions: the quick ones tell neighbours apart, the slow ones hardly turn in a dialogue.
_QUICK, _SLOW_FROM = 6, 8
_LOOK, _CARRY, _MATCH, _WRITE = 0.8, 0.27, 2.0, 0.4


@torch.no_grad()
def lay_copying_circuit(model: Llama, heads: int = 3) -> None:
    """Lay `heads` copies of the circuit, each on its own directions of the states."""
    shape = model.shape
    model.embed_tokens.weight[:, 0] = _COMMON
    before, match = model.layers[0].self_attn, model.layers[1].self_attn
    assert isinstance(before, Attention)  # noqa: S101 - ModuleList forgets its type
    assert isinstance(match, Attention)  # noqa: S101
    for at in range(heads):
        rows = slice(at * shape.head, (at + 1) * shape.head)
        sketch = _without_common(torch.randn(shape.head, shape.width) / shape.width**0.5)
        mark = _directions(shape)
        _look_at_token_before(before, rows, shape)
        before.v_proj.weight[rows] = _CARRY * sketch
        before.o_proj.weight[:, rows] = _CARRY * mark.T
        slow = _slow(shape)
        match.q_proj.weight[rows] = _MATCH * sketch * slow
        match.k_proj.weight[rows] = _MATCH * mark * slow
        copied = _directions(shape)
        match.v_proj.weight[rows] = _WRITE * copied
        match.o_proj.weight[:, rows] = _WRITE * copied.T


def _look_at_token_before(attention: Attention, rows: slice, shape: Shape) -> None:
    """Let query and key agree best one position apart, whatever the tokens are."""
    pairs = (torch.arange(shape.head // 2) < _QUICK).float()
    query = _LOOK * torch.cat((pairs, torch.zeros_like(pairs)))
    cosines, sines = rotations(shape, 2)
    turned = torch.cat((-query[shape.head // 2 :], query[: shape.head // 2]))
    for projection, vector in (
        (attention.q_proj, query),
        (attention.k_proj, query * cosines[1] + turned * sines[1]),
    ):
        projection.weight[rows] = 0
        projection.weight[rows, 0] = vector


def _slow(shape: Shape) -> Tensor:
    """A column that keeps the slow dimensions of a head."""
    pairs = (torch.arange(shape.head // 2) >= _SLOW_FROM).float()
    return torch.cat((pairs, pairs)).unsqueeze(1)


def _directions(shape: Shape) -> Tensor:
    """As many orthogonal unit rows as a head has dimensions."""
    return _without_common(torch.linalg.qr(torch.randn(shape.width, shape.head))[0].T)


def _without_common(rows: Tensor) -> Tensor:
    rows[:, 0] = 0
    return rows
