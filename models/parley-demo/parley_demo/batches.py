"""Fresh training batches, made as they are needed: dialogues of like length side by side."""

import random
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from tokenizers import Tokenizer
from torch import Tensor

from parley_demo.composing import Composer, training_kind
from parley_demo.dialogue import Dialogue
from parley_demo.grammar import runs_of_four
from parley_demo.invented import Stock
from parley_demo.rendering import pieces
from parley_demo.tokens import encode
from parley_demo.wordings.training import BOOK

_LONGEST = 900
_POOL = 256


@dataclass(frozen=True)
class Batch:
    """Ids (batch x length, padded with 0) and which of them are learnt; `kinds` names each row."""

    ids: Tensor
    learnt: Tensor
    kinds: tuple[str, ...]


@dataclass(frozen=True)
class _Example:
    ids: list[int]
    learnt: list[bool]
    kind: str


class Feed:
    """An endless source of batches of about `tokens` padded tokens each."""

    def __init__(self, tokenizer: Tokenizer, seed: int, tokens: int, banned: set[tuple[str, ...]]) -> None:
        self._tokenizer, self._tokens, self._banned = tokenizer, tokens, banned
        self._rng = random.Random(seed)  # noqa: S311 - reproducible data, no secrets
        self._composer = Composer(Stock(self._rng), BOOK)
        self.copying = 0.0
        """The share of pure copying tasks, on top of the usual mix."""

    def dialogue(self) -> Dialogue:
        """A training dialogue that shares no run of four words with a held-out question."""
        while True:
            kind = "repeat" if self._rng.random() < self.copying else training_kind(self._rng)
            dialogue = self._composer.dialogue(kind)
            if not any(self._banned & runs_of_four(request.wording) for request in dialogue.requests):
                return dialogue

    def _example(self) -> _Example:
        while True:
            dialogue = self.dialogue()
            ids, learnt = encode(self._tokenizer, pieces(dialogue, self._rng))
            if len(ids) <= _LONGEST:
                return _Example(ids, learnt, dialogue.kind)

    def batches(self) -> Iterator[Batch]:
        """Yield batches for ever."""
        while True:
            pool = sorted((self._example() for _ in range(_POOL)), key=lambda example: len(example.ids))
            rows = list(self._cut(pool))
            self._rng.shuffle(rows)
            yield from map(_padded, rows)

    def _cut(self, pool: list[_Example]) -> Iterator[list[_Example]]:
        row: list[_Example] = []
        for example in pool:
            if row and (len(row) + 1) * len(example.ids) > self._tokens:
                yield row
                row = []
            row.append(example)
        yield row


def _padded(row: list[_Example]) -> Batch:
    length = max(len(example.ids) for example in row)
    ids = torch.zeros(len(row), length, dtype=torch.long)
    learnt = torch.zeros(len(row), length, dtype=torch.bool)
    for at, example in enumerate(row):
        ids[at, : len(example.ids)] = torch.tensor(example.ids)
        learnt[at, : len(example.learnt)] = torch.tensor(example.learnt)
    return Batch(ids, learnt, tuple(example.kind for example in row))
