"""A small grammar for wordings: `(a|b)` chooses, `<name>` looks a rule up, `{gap}` stays for an argument."""

import random
import re
from collections.abc import Mapping, Sequence

_CHOICE = re.compile(r"\(([^()]*)\)")
_RULE = re.compile(r"<(\w+)>")
_GAP = re.compile(r"\{\w+\}")
_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)?")

Rules = Mapping[str, Sequence[str]]


def expand(pattern: str, rules: Rules, rng: random.Random) -> str:
    """Return one random wording of `pattern`, its gaps still open."""
    while rule := _RULE.search(pattern):
        chosen = rng.choice(rules[rule.group(1)])
        pattern = pattern[: rule.start()] + f"({chosen})" + pattern[rule.end() :]
    while choice := _CHOICE.search(pattern):
        pattern = pattern[: choice.start()] + rng.choice(choice.group(1).split("|")) + pattern[choice.end() :]
    return re.sub(r" +([,.?!])(?![\w{*])", r"\1", re.sub(r"  +", " ", pattern))


def words(wording: str) -> list[str]:
    """The words of a wording in lower case, arguments left out."""
    return _WORD.findall(_GAP.sub(" ", wording).lower())


def runs_of_four(wording: str) -> set[tuple[str, ...]]:
    """Every four words in a row, arguments aside: what training and held-out wordings must not share."""
    found = words(wording)
    return {tuple(found[i : i + 4]) for i in range(len(found) - 3)}


def fill(wording: str, gaps: Mapping[str, str]) -> str:
    """Put the arguments into a wording's gaps."""
    return _GAP.sub(lambda match: gaps[match.group()[1:-1]], wording)
