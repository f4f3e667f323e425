"""Whole dialogues: which kind, how many requests, which tools are offered, how the user types."""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from parley_demo import arithmetic, clock, failures, files, smalltalk, statistic
from parley_demo.dialogue import TOOLS, Dialogue, Request, thought_of
from parley_demo.grammar import expand, fill
from parley_demo.invented import Stock
from parley_demo.phrasebook import Phrasebook, loose, names

Maker = Callable[[Stock, str], Request | None]

# Wording kind -> maker; the wordings of each kind carry the gaps that its maker fills.
SINGLE: dict[str, dict[str, Maker]] = {
    "calculator": {
        "typed_sum": arithmetic.typed_sum,
        "spoken_sum": arithmetic.spoken_sum,
        "add": arithmetic.two_numbers("{a} + {b}"),
        "subtract": arithmetic.two_numbers("{b} - {a}"),
        "multiply": arithmetic.two_numbers("{a} * {b}"),
        "divide": arithmetic.two_numbers("{a} / {b}"),
        "percent": arithmetic.two_numbers("{a} / 100 * {b}"),
        "remainder": arithmetic.two_numbers("{a} % {b}"),
        "power": arithmetic.two_numbers("{a} ** {b}"),
        "squared": arithmetic.two_numbers("{a} ** 2"),
        "half": arithmetic.two_numbers("{a} / 2"),
        "root": arithmetic.square_root,
    },
    "statistics": {"figures": statistic.figures},
    "time_now": {"time_in": clock.in_place, "time": clock.anywhere},
    "file_read": {"read": files.read},
    "file_list": {"list_folder": files.list_folder, "list_workspace": files.list_workspace},
}
# How often each wording kind is asked, where it is not 1.
WEIGHTS = {"typed_sum": 7.0, "spoken_sum": 3.0, "time_in": 6.0, "list_folder": 2.0}
COURTESIES = tuple(smalltalk.ANSWERS)


@dataclass(frozen=True)
class Habits:
    """How dialogues are drawn, where training differs from judging."""

    weights: Mapping[str, float]
    """How often each wording kind is asked, where it is not 1."""
    catalogue: float = 0.3
    """The share of dialogues that offer the platform's whole catalogue."""
    others: float = 0.2
    """The share that offers a few tools beside the five."""
    history: float = 0.06
    """The share that has requests before the one that counts."""
    tidier: float = 0.5
    """How often a wording of loose words is drawn again."""
    narrows: bool = False
    """Whether each dialogue draws from few words and like numbers of its own."""


JUDGED = Habits(WEIGHTS)
# The catalogue is long and teaches nothing after a while; a sum's rarer forms need more examples than they
# would get, and loose words teach to find an argument whatever stands around it.
TRAINED = Habits(
    {"typed_sum": 5.0, "spoken_sum": 4.0, "time_in": 6.0, "list_folder": 2.0}
    | dict.fromkeys(("add", "subtract", "multiply", "divide", "remainder"), 2.5),
    catalogue=0.06,
    others=0.08,
    history=0.03,
    tidier=0.0,
    narrows=True,
)

KINDS = (
    *SINGLE,
    "greeting",
    "cannot answer",
    "not offered",
    "tool error",
    "two calls",
    "second turn",
)
# The mix of training; judging gives each kind of KINDS an equal share.
MIX = {
    "calculator": 7,
    "statistics": 6,
    "time_now": 9,
    "file_read": 8,
    "file_list": 5,
    "greeting": 2,
    "cannot answer": 4,
    "not offered": 2,
    "tool error": 4,
    "two calls": 15,
    "second turn": 7,
    "repeat": 2,
}
# Tools that may be offered beside the five: the platform's own catalogue, and some that others might bring.
PLATFORM_TOOLS = names()["platform_tools"]
UNKNOWN_TOOLS = PLATFORM_TOOLS + names()["other_tools"]
SYSTEM_TEXTS = ("You are a helpful assistant.", "Answer briefly.", "Be kind.", "You help users of Parley.")


class Composer:
    """Makes dialogues from a stock of arguments and a book of wordings."""

    def __init__(self, stock: Stock, book: Phrasebook, habits: Habits = JUDGED) -> None:
        self._stock, self._book, self._rng, self._habits = stock, book, stock.rng, habits
        # Joined questions come without the small talk around each.
        self._terse = book.without("why", "hey", "tail", "end")

    def dialogue(self, kind: str) -> Dialogue:
        """A dialogue whose last request is of this kind."""
        requests: tuple[Request, ...]
        if self._habits.narrows:
            self._stock.narrow()
        if kind == "second turn":
            requests = self._second_turn()
        else:
            requests = (*self._small_history(), self.request(kind))
        questions = tuple(map(asked, requests))
        return Dialogue(requests, self._offered(requests), questions, self._system(), kind)

    def request(self, kind: str) -> Request:
        """One request of a kind that stands alone."""
        if kind == "greeting":
            courtesy = self._rng.choice(COURTESIES)
            return smalltalk.courtesy(self._stock, courtesy, self._wording(courtesy))
        if kind == "cannot answer":
            return smalltalk.beyond(self._stock, self._wording("beyond"))
        if kind == "repeat":
            return smalltalk.repeat(self._stock, self._wording("repeat"))
        if kind == "not offered":
            return failures.not_offered(self._any_call())
        if kind == "tool error":
            return failures.failed(self._stock, self._any_call())
        return self._two_calls() if kind == "two calls" else self._single(kind)

    def _any_call(self, book: Phrasebook | None = None) -> Request:
        return self._single(self._rng.choice(tuple(SINGLE)), book)

    def _wording(self, kind: str, book: Phrasebook | None = None) -> str:
        return _upper_first(self._expanded(kind, book or self._book))

    def _expanded(self, kind: str, book: Phrasebook) -> str:
        pattern = self._rng.choice(book.patterns[kind])
        if loose(pattern) and self._stock.chance(self._habits.tidier):
            pattern = self._rng.choice(book.patterns[kind])
        return expand(pattern, book.rules, self._rng).strip()

    def _single(self, kind: str, book: Phrasebook | None = None) -> Request:
        makers, weights = SINGLE[kind], self._habits.weights
        while True:
            name = self._rng.choices(list(makers), [weights.get(name, 1.0) for name in makers])[0]
            request = makers[name](self._stock, self._wording(name, book))
            if request is not None:
                return request

    def _two_calls(self) -> Request:
        one, two = self._any_call(self._terse), self._any_call(self._terse)
        if self._stock.chance(0.08):
            two = failures.failed(self._stock, two)
        join = self._expanded("join", self._book)
        first, second = one.wording.rstrip(".?!"), _lower_first(two.wording)
        gaps = {f"one_{gap}": text for gap, text in one.gaps.items()}
        gaps |= {f"two_{gap}": text for gap, text in two.gaps.items()}
        wording = f"{first.replace('{', '{one_')}{_glue(join)}{second.replace('{', '{two_')}"
        calls = one.calls + two.calls
        return Request("two calls", wording, gaps, f"{one.answer}\n{two.answer}", calls, thought_of(calls))

    def _second_turn(self) -> tuple[Request, ...]:
        while True:
            first = self._any_call()
            second = self._follow_up(first)
            if second is not None:
                return first, second

    def _follow_up(self, first: Request) -> Request | None:
        rng, stock, name = self._rng, self._stock, first.calls[0].name
        if name == "calculator":
            sign = rng.choice(tuple(arithmetic.FOLLOW_UPS))
            return arithmetic.follow_up(stock, first, sign, self._wording(arithmetic.FOLLOW_UPS[sign]))
        if name == "statistics":
            return statistic.follow_up(stock, first, self._wording("and_op"))
        if name == "time_now":
            return clock.follow_up(stock, first, self._wording("and_city"))
        if name == "file_read":
            return files.follow_up_read(stock, first, self._wording("and_path"))
        if stock.chance(0.5):
            return files.open_first(stock, first, self._wording("open_first"))
        return files.follow_up_list(stock, first, self._wording("and_dir"))

    def _small_history(self) -> tuple[Request, ...]:
        if not self._stock.chance(self._habits.history):
            return ()
        kinds = (*SINGLE, "greeting", "cannot answer", "two calls", "tool error")
        return tuple(self.request(self._rng.choice(kinds)) for _ in range(self._rng.choice((1, 1, 2))))

    def _offered(self, requests: tuple[Request, ...]) -> tuple[str, ...]:
        needed = {call.name for request in requests for call in request.calls}
        last = requests[-1]
        share = self._rng.choice((0.5, 1.0, 1.0))
        offered = [name for name in TOOLS if name in needed or self._stock.chance(share)]
        if self._stock.chance(self._habits.catalogue):
            return tuple(sorted({*offered, *PLATFORM_TOOLS} - {last.missing}))
        if self._stock.chance(self._habits.others):
            offered += self._rng.sample(UNKNOWN_TOOLS, self._rng.randint(1, 6))
        if self._stock.chance(0.05):
            offered.append(f"{self._stock.pseudo_word()}_{self._stock.pseudo_word()}")
        if self._stock.chance(0.5):
            self._rng.shuffle(offered)
        if last.missing and not needed and self._stock.chance(0.2):
            offered = []
        return tuple(name for name in offered if name != last.missing)

    def _system(self) -> str:
        if not self._stock.chance(0.2):
            return ""
        return self._rng.choice((*SYSTEM_TEXTS, self._stock.sentence(12)))


def _glue(join: str) -> str:
    """A joining word with the spaces it needs: punctuation sticks to what stands before it."""
    return f"{join} " if join[0] in ",;.?" else f" {join} "


def _upper_first(text: str) -> str:
    return text[:1].upper() + text[1:]


def asked(request: Request) -> str:
    """The question as the user sends it."""
    return fill(request.wording, request.gaps)


def _lower_first(text: str) -> str:
    return text if text[:1] == "{" or text[:2] in ("I ", "I'") else text[:1].lower() + text[1:]


def training_kind(rng: random.Random) -> str:
    """A kind of dialogue as often as the training mix wants it."""
    return rng.choices(tuple(MIX), tuple(MIX.values()))[0]
