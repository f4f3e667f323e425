"""Fresh training batches, made as they are needed: dialogues of like length side by side."""

import multiprocessing
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing.sharedctypes import Synchronized

import torch
from tokenizers import Tokenizer
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from parley_demo import phrasebook
from parley_demo.composing import TRAINED, Composer, asked, training_kind
from parley_demo.dialogue import Dialogue
from parley_demo.grammar import runs_of_four
from parley_demo.invented import Stock, seeded
from parley_demo.rendering import pieces
from parley_demo.tokens import encode
from parley_demo.typing_slips import careless

# The share of copying drills among the examples, which a run may change while others make them.
Drills = Synchronized  # type: ignore[type-arg]

_LONGEST = 900
_POOL = 256


def drills(share: float) -> Drills:
    """A share of copying drills."""
    return multiprocessing.Value("d", share)


@dataclass(frozen=True)
class Batch:
    """Ids (batch x length, padded with 0) and their weights in the loss; `kinds` names each row."""

    ids: Tensor
    weights: Tensor
    kinds: tuple[str, ...]

    def to(self, device: str) -> "Batch":
        """The same on a device."""
        return replace(self, ids=self.ids.to(device), weights=self.weights.to(device))


@dataclass(frozen=True)
class _Example:
    ids: list[int]
    weights: list[float]
    kind: str


class Feed:
    """An endless source of batches of about `tokens` padded tokens each."""

    def __init__(
        self,
        tokenizer: Tokenizer,
        seed: int,
        tokens: int,
        banned: set[tuple[str, ...]],
        copying: Drills | None = None,
    ) -> None:
        self._tokenizer, self._tokens, self._banned = tokenizer, tokens, banned
        self._rng = seeded(seed)
        self._composer = Composer(Stock(self._rng), phrasebook.training(), TRAINED)
        self._parts = [id_ for text, id_ in sorted(tokenizer.get_vocab().items()) if "<" not in text]
        self._digits = [tokenizer.encode(digit).ids[0] for digit in "0123456789 "]
        self._copying = copying or drills(0.0)

    def dialogue(self) -> Dialogue:
        """A training dialogue that shares no run of four words with a held-out question."""
        while True:
            dialogue = self._typed(self._composer.dialogue(training_kind(self._rng)))
            if not any(self._banned & runs_of_four(request.wording) for request in dialogue.requests):
                return dialogue

    def _typed(self, dialogue: Dialogue) -> Dialogue:
        """The dialogue with its questions typed as carelessly as people type."""
        requests = tuple(
            replace(each, wording=careless(each.wording, self._rng)) for each in dialogue.requests
        )
        return replace(dialogue, requests=requests, questions=tuple(map(asked, requests)))

    def _drill(self) -> _Example:
        """Random tokens to say again: the dense signal from which a small model learns to copy at all."""
        alphabet = self._digits if self._rng.random() < 0.2 else self._parts
        if self._rng.random() < 0.5:
            # Where tokens come again, what follows one of them tells nothing: it takes those before it too.
            alphabet = self._rng.sample(alphabet, self._rng.randint(3, 10))
        copied = self._rng.choices(alphabet, k=self._rng.randint(4, 48))
        frame = ("<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n", "<|im_end|>")
        before, between, after = (self._tokenizer.encode(text).ids for text in frame)
        ids = [*before, *copied, *between, *copied, *after]
        given = len(before) + len(copied) + len(between)
        return _Example(ids, [0.0] * given + [1.0] * (len(ids) - given), "copying drill")

    def _example(self) -> _Example:
        if self._rng.random() < self._copying.value:
            return self._drill()
        while True:
            dialogue = self.dialogue()
            ids, weights = encode(self._tokenizer, pieces(dialogue, self._rng))
            if len(ids) <= _LONGEST:
                return _Example(ids, weights, dialogue.kind)

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


class Stream(IterableDataset[Batch]):
    """Batches for a run, made by worker processes where there are any; each draws other dialogues."""

    def __init__(
        self, tokenizer: Tokenizer, seed: int, tokens: int, banned: set[tuple[str, ...]], copying: Drills
    ) -> None:
        self._feed = partial(Feed, tokenizer, tokens=tokens, banned=banned, copying=copying)
        self._seed = seed

    def __iter__(self) -> Iterator[Batch]:
        """Batches for ever, this worker's own."""
        worker = get_worker_info()
        return self._feed(seed=self._seed + 7919 * (worker.id if worker else 0)).batches()

    def batches(self, workers: int) -> Iterator[Batch]:
        """Batches for ever, made ahead by so many processes, or in this one as they are needed."""
        return iter(DataLoader(self, batch_size=None, num_workers=workers))


def _padded(row: list[_Example]) -> Batch:
    length = max(len(example.ids) for example in row)
    ids = torch.zeros(len(row), length, dtype=torch.long)
    weights = torch.zeros(len(row), length)
    for at, example in enumerate(row):
        ids[at, : len(example.ids)] = torch.tensor(example.ids)
        weights[at, : len(example.weights)] = torch.tensor(example.weights)
    return Batch(ids, weights, tuple(example.kind for example in row))
