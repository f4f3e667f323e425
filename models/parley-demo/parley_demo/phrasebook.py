"""The wordings of each side, read from text files.

A line `[kind]` opens a kind of request, and each line after it is a pattern: `(a|b)` chooses, `{gap}` stays
open for an argument, `<rule>` stands for any of the rule's alternatives. A line `<rule> a | b` names a rule;
a line that begins with a bar goes on with it. A lone dash is the alternative that says nothing.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

_FOLDER = Path(__file__).parent / "wordings"
# Rules for words in any order; they teach that the argument's own look decides, not the words around it.
_LOOSE = ("<any_word>", "<word_salad>", "<clause>")


@dataclass(frozen=True)
class Phrasebook:
    """The patterns of each kind, and the rules that they use."""

    patterns: dict[str, tuple[str, ...]]
    rules: dict[str, tuple[str, ...]]

    def without(self, *rules: str) -> "Phrasebook":
        """The same wordings, where these rules say nothing."""
        return Phrasebook(self.patterns, self.rules | dict.fromkeys(rules, ("",)))


def loose(pattern: str) -> bool:
    """Whether a pattern has words in any order, which nobody would say."""
    return any(rule in pattern for rule in _LOOSE)


@cache
def training() -> Phrasebook:
    """The wordings that the model learns from."""
    return _parsed((_FOLDER / "training.txt").read_text(encoding="utf-8"))


@cache
def known() -> Phrasebook:
    """Training's wordings but for the loose ones, which nobody would say: what judging asks of."""
    book = training()
    patterns = {
        kind: tuple(each for each in patterns if not loose(each)) for kind, patterns in book.patterns.items()
    }
    return Phrasebook(patterns, book.rules)


@cache
def names() -> dict[str, tuple[str, ...]]:
    """Names, and parts to invent names from."""
    return _parsed((_FOLDER / "names.txt").read_text(encoding="utf-8")).rules


@cache
def held_out() -> Phrasebook:
    """The wordings that only judging uses."""
    return _parsed((_FOLDER / "held_out.txt").read_text(encoding="utf-8"))


def _parsed(text: str) -> Phrasebook:
    patterns: dict[str, list[str]] = {}
    rules: dict[str, list[str]] = {}
    kind = rule = ""
    for line in text.splitlines():
        if line.startswith("[") and line.endswith("]") and " " not in line:
            kind = line[1:-1]
        elif not line.strip() or line.startswith("#"):
            continue
        elif kind:
            patterns.setdefault(kind, []).append(line)
        else:
            if line.startswith("<"):
                rule, _, line = line[1:].partition(">")
            rules.setdefault(rule, []).extend(_alternatives(line))
    return Phrasebook(_frozen(patterns), _frozen(rules))


def _alternatives(line: str) -> list[str]:
    each = (text.strip() for text in line.strip().removeprefix("|").split("|"))
    return ["" if text == "-" else text for text in each]


def _frozen(lists: dict[str, list[str]]) -> dict[str, tuple[str, ...]]:
    return {name: tuple(items) for name, items in lists.items()}
