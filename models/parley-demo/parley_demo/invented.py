"""Names, numbers and texts to fill dialogues with; training and held-out draw from separate stocks."""

import random
from dataclasses import dataclass, field

from parley_demo.phrasebook import names

ZONE_AREAS = ("Europe", "Asia", "America", "Africa", "Australia", "Pacific")
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
# Whole numbers that only held-out questions contain.
RESERVED = ((33, 39), (61, 68), (350, 449), (720, 799), (3000, 3999), (6200, 6899), (51000, 58999))

_LETTERS = "abcdefghijklmnopqrstuvwxyz"


def seeded(seed: int) -> random.Random:
    """Random choices that a seed repeats; for data, never for secrets."""
    return random.Random(seed)  # noqa: S311


def _reserved(number: int) -> bool:
    return any(low <= number <= high for low, high in RESERVED)


@dataclass(frozen=True)
class Stock:
    """A seeded source of arguments and texts; `held_out` picks the stock that training never sees."""

    rng: random.Random
    held_out: bool = False
    few_words: list[str] = field(default_factory=list)
    """Words that come again and again until the next `narrow`; empty where words are drawn freely."""
    spans: list[tuple[int, int]] = field(default_factory=list)
    """Ranges from which whole numbers come until the next `narrow`, so that they look alike."""

    def narrow(self) -> None:
        """Draw from few words and like numbers for a while, or freely again.

        A text that repeats its words and numbers that share their digits are the hardest to copy: what
        comes next cannot be told from the one token before.
        """
        rng = self.rng
        self.few_words.clear()
        self.spans.clear()
        if self.chance(0.75):
            self.few_words.extend(self._new_word() for _ in range(rng.choice((5, 8, 12, 20, 40))))
        if self.chance(0.5):
            starts = [rng.randrange(10, 10 ** rng.choice((2, 3, 3, 4, 4))) for _ in range(rng.randint(1, 3))]
            self.spans.extend((start, start + rng.choice((9, 40, 90))) for start in starts)

    def _new_word(self) -> str:
        """A word from the list, one invented, or one put together from two of the list."""
        rng, listed = self.rng, names()["words"]
        if self.chance(0.3):
            return self.pseudo_word()
        one, two = rng.choice(listed), rng.choice(listed)
        if self.chance(0.4) or len(one) < 4 or len(two) < 4:
            return one
        return one[: rng.randint(2, len(one) - 1)] + two[rng.randint(1, len(two) - 2) :]

    def chance(self, probability: float) -> bool:
        """Return true with this probability."""
        return self.rng.random() < probability

    def whole(self, digits: int = 3) -> int:
        """A whole number above zero of at most about `digits` digits."""
        if self.held_out:
            # Every number is as likely: of a few small ones a list would hold the same again and again.
            spans = [span for span in RESERVED if span[1] < 10 ** max(digits, 3)]
            return self.rng.randint(*self.rng.choices(spans, [high - low + 1 for low, high in spans])[0])
        while True:
            if self.spans and self.chance(0.7):
                number = self.rng.randint(*self.rng.choice(self.spans))
                if not _reserved(number):
                    return number
            number = self.rng.randrange(1, 10 ** self.rng.randint(1, digits))
            if self.chance(0.05):
                number *= 10
            if not _reserved(number):
                return number

    def number(self, digits: int = 3) -> str:
        """A number as a user types it: mostly whole, sometimes with decimals."""
        text = str(self.whole(digits))
        if self.chance(0.12):
            text += "." + self.rng.choice(
                ("5", "25", "75", str(self.rng.randint(1, 9)), f"{self.rng.randint(0, 9)}3")
            )
        return text

    def pseudo_word(self) -> str:
        """A pronounceable word that no dictionary has, or now and then a run of letters."""
        rng = self.rng
        if self.chance(0.1):
            return "".join(rng.choice(_LETTERS) for _ in range(rng.randint(2, 5)))
        parts = (
            rng.choice(part)
            for _ in range(rng.randint(1, 3))
            for part in (names()["onsets"], names()["vowels"], names()["codas"])
        )
        return "".join(parts)

    def word(self) -> str:
        """A plain word, in training often an invented one so that copying is learnt rather than a list."""
        if self.held_out:
            return self.rng.choice(names()["held_out_words"])
        if self.few_words and self.chance(0.85):
            return self.rng.choice(self.few_words)
        return self.pseudo_word() if self.chance(0.35) else self.rng.choice(names()["words"])

    def city(self) -> str:
        """A city or IANA zone, in training often an invented one."""
        rng = self.rng
        if self.held_out:
            return rng.choice(names()["held_out_cities"])
        if self.few_words and self.chance(0.3):
            return " ".join(rng.choice(self.few_words).capitalize() for _ in range(rng.choice((1, 2, 2))))
        if self.chance(0.5):
            return rng.choice(names()["cities"])
        name = " ".join(self.pseudo_word().capitalize() for _ in range(rng.choice((1, 1, 1, 1, 2))))
        if self.chance(0.2):
            return f"{rng.choice(ZONE_AREAS)}/{name.replace(' ', '_')}"
        return name.lower() if " " not in name and self.chance(0.25) else name

    def stem(self) -> str:
        """A file or folder name without its extension."""
        rng, name = self.rng, self.word()
        if self.chance(0.2):
            name += rng.choice("-_") + self.word()
        if self.chance(0.15):
            name += rng.choice(("", "-", "_")) + str(self.whole(4))
        if not self.held_out and self.chance(0.1):
            name = rng.choice((name.upper(), name.capitalize()))
        return name

    def directory(self) -> str:
        """A relative folder, one or two levels deep."""
        return "/".join(self.stem() for _ in range(self.rng.choice((1, 1, 1, 1, 1, 2))))

    def file_name(self) -> str:
        """A file name with its extension."""
        return f"{self.stem()}.{self.extension()}"

    def extension(self) -> str:
        """A file extension without its dot, in training at times an invented one."""
        if not self.held_out and self.chance(0.1):
            return self.pseudo_word()[:4]
        return self.rng.choice(names()["extensions"])

    def path(self) -> str:
        """A relative file path, with or without folders."""
        return f"{self.directory()}/{self.file_name()}" if self.chance(0.3) else self.file_name()

    def sentence(self, longest: int = 7) -> str:
        """Words in a row, at times with a number, a capital or a full stop."""
        parts = [self.word() for _ in range(self.rng.randint(1, longest))]
        if self.chance(0.15):
            parts.insert(self.rng.randrange(len(parts) + 1), self.number(4))
        text = " ".join(parts)
        if self.chance(0.4):
            text = text[0].upper() + text[1:]
        return text + self.rng.choice(("", "", ".", "!", ":", ","))

    def line(self) -> str:
        """One line of a file: prose, a list item, a CSV row, a setting or a bit of code."""
        rng = self.rng
        shape = rng.choice((0, 0, 0, 0, 0, 0, 4, 4, 5, 6, 7))
        if not shape:
            return self.sentence()
        if shape == 4:
            return rng.choice(("- ", "* ", "# ", "## ", f"{rng.randint(1, 9)}. ", "[ ] ")) + self.sentence()
        if shape == 5:
            return ",".join(rng.choice((self.word(), self.number(4))) for _ in range(rng.randint(2, 4)))
        if shape == 6:
            return (
                self.word()
                + rng.choice((": ", " = ", "=", " -> "))
                + rng.choice((self.word(), self.number(4)))
            )
        return rng.choice(
            ('print("{}")', '{{"{}": 1}}', "<p>{}</p>", "({})", "{}@example.org", "`{}`")
        ).format(self.word())
