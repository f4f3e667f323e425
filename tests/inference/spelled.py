"""Weights that spell texts, for a network of any family: what comes next depends on the last token alone.

All that a network does beside embedding its tokens and choosing the next one is put to zero: attention and
feed-forward parts are run, and add nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    # Half a minute of imports, which whoever only collects the tests need not wait for.
    from transformers import PreTrainedModel

SHARPNESS = 8.0


def places(*scripts: Sequence[int]) -> dict[int, int]:
    """The dimension of the network that stands for each token of the scripts."""
    return {token: at for at, token in enumerate(dict.fromkeys(chain(*scripts)))}


def spell(network: PreTrainedModel, *scripts: Sequence[int]) -> None:
    """Make a network answer each token of the scripts with the next one."""
    import torch

    dimensions = places(*scripts)
    followed = {pair[0]: pair[1] for script in scripts for pair in pairwise(script)}
    if len(followed) != sum(len(script) - 1 for script in scripts):
        raise ValueError("A token is followed by two others.")
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.dim() > 1:
                parameter.zero_()
        embedded = network.get_input_embeddings().weight
        chosen = network.get_output_embeddings().weight
        for token, at in dimensions.items():
            embedded[token, at] = 1
        for token, following in followed.items():
            chosen[following, dimensions[token]] = SHARPNESS
