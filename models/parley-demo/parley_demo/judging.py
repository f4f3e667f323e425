"""The two judged sets and how a dialogue is graded: strictly, by exact calls and exact answers."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from parley_demo import phrasebook
from parley_demo.composing import KINDS, Composer
from parley_demo.dialogue import Call, Dialogue
from parley_demo.grammar import runs_of_four
from parley_demo.invented import Stock, seeded

# Judging draws from seeds that training cannot reach: its feeds start at small multiples of a large prime.
SEED = 20_261_123


@dataclass(frozen=True)
class Verdict:
    """What came of one dialogue; an answer counts only where the calls before it were right."""

    kind: str
    calls: bool
    answer: bool


def dialogues(book: phrasebook.Phrasebook, stock: Stock, questions: int) -> list[Dialogue]:
    """As many dialogues, the kinds in turn."""
    composer = Composer(stock, book)
    return [composer.dialogue(KINDS[at % len(KINDS)]) for at in range(questions)]


def known_set(questions: int, seed: int = SEED) -> list[Dialogue]:
    """Training's wordings with new arguments."""
    return dialogues(phrasebook.known(), Stock(seeded(seed)), questions)


def held_out_set(questions: int, seed: int = SEED) -> list[Dialogue]:
    """Wordings, names and number ranges that training does not have."""
    stock = Stock(seeded(seed + 1), held_out=True)
    return dialogues(phrasebook.held_out(), stock, questions)


def banned_runs(questions: int = 3000) -> set[tuple[str, ...]]:
    """The runs of four words that training may not use: those of held-out questions."""
    made = held_out_set(questions)
    return {
        run for dialogue in made for request in dialogue.requests for run in runs_of_four(request.wording)
    }


def same_calls(wanted: Sequence[Call], made: Sequence[tuple[str, str]]) -> bool:
    """Whether the calls made (name, JSON arguments) are those wanted, in order; spaces in sums are free."""
    expected = [(call.name, _plain(call.arguments)) for call in wanted]
    try:
        return expected == [(name, _plain(json.loads(arguments))) for name, arguments in made]
    except (json.JSONDecodeError, AttributeError):
        return False


def _plain(arguments: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: value.replace(" ", "") if name == "expression" and isinstance(value, str) else value
        for name, value in arguments.items()
    }


def same_answer(wanted: str, given: str) -> bool:
    """Whether the answer is the wanted text, white space at its ends aside."""
    return wanted.strip() == given.strip()


@dataclass(frozen=True)
class Score:
    """How many dialogues of a kind there were, and how many had right calls and right answers."""

    kind: str
    questions: int
    calls: int
    answers: int


def scores(verdicts: Iterable[Verdict]) -> list[Score]:
    """A score per kind, then one for all."""
    found = list(verdicts)
    kinds = [*dict.fromkeys(verdict.kind for verdict in found), "all"]
    return [_score(kind, [verdict for verdict in found if kind in (verdict.kind, "all")]) for kind in kinds]


def _score(kind: str, found: Sequence[Verdict]) -> Score:
    return Score(
        kind, len(found), sum(verdict.calls for verdict in found), sum(verdict.answer for verdict in found)
    )


def table(name: str, found: Sequence[Score]) -> str:
    """The scores as text."""
    lines = [f"{name:<16}{'questions':>10}{'calls':>9}{'answers':>9}"]
    for score in found:
        shares = (f"{100 * right / score.questions:7.1f} %" for right in (score.calls, score.answers))
        lines.append(f"{score.kind:<16}{score.questions:>10}{''.join(shares)}")
    return "\n".join(lines)
