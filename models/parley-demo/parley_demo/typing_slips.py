"""How people type: what training adds to its wordings so that small slips do not matter."""

import random


def careless(wording: str, rng: random.Random) -> str:
    """A wording as people type it: without capitals or full stops, with slips and words too many."""
    if rng.random() < 0.2:
        wording = wording[:1].lower() + wording[1:]
    if rng.random() < 0.15:
        wording = wording.rstrip(".?!")
    if rng.random() < 0.05:
        wording = _with_slip(wording, rng)
    return wording


def _with_slip(wording: str, rng: random.Random) -> str:
    parts = wording.split(" ")
    at = rng.randrange(len(parts))
    word = parts[at]
    shape = rng.randrange(4)
    if "{" in word or shape == 0:
        parts.insert(at, rng.choice(("really", "just", "the", "um", "so", "then", "well", "maybe")))
    elif shape == 1 and len(word) > 4:
        swap = rng.randrange(1, len(word) - 2)
        parts[at] = word[:swap] + word[swap + 1] + word[swap] + word[swap + 2 :]
    elif shape == 2:
        parts.append(rng.choice(("now", "thanks", "please", "ok")))
    else:
        parts[at] = rng.choice((word.upper(), word + ",", word + "...", f" {word}"))
    return " ".join(parts)
