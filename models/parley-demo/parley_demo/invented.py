"""Names, numbers and texts to fill dialogues with; training and held-out draw from separate stocks."""

import random
from dataclasses import dataclass

WORDS = """apple river stone garden window paper silver market letter engine signal bridge forest summer winter
table orange yellow purple basket camera doctor farmer guitar harbor island jacket kitten ladder mirror needle
onion pencil rabbit saddle ticket violin wallet zebra anchor butter candle dragon eagle feather ginger hammer
insect jungle kettle lemon magnet napkin olive parrot quartz ribbon salmon tiger umbrella valley walnut yogurt
meeting budget invoice report summary notes plan draft list data sales stock order client project team task
log error config backup archive image photo music video recipe travel diary school lesson exam result score
buy milk call pay send write check clean fix book visit ask find move open close start stop the and for with
from into about before after monday friday morning evening week month year big small new old red blue green
fast slow warm cold happy quiet early late first last next many few good bad true false total value index
welcome hello workspace file folder here this that you are is it to of in on at by we our your they was be""".split()
HELD_OUT_WORDS = """falcon glacier pumpkin lantern sparrow thunder meadow compass barrel cactus domino ferry gravel
helmet ivory jigsaw kayak lobster marble nutmeg oyster pepper quiver rocket saffron turnip urchin velvet wagon
ledger memo minutes agenda roster survey metrics payroll shipment warranty audit forecast catalog blueprint
borrow deliver repaint schedule collect measure polish return wash repair""".split()

CITIES = """Tokyo|Paris|London|Berlin|Madrid|Rome|New York|Los Angeles|Chicago|Sydney|Melbourne|Beijing|Shanghai
Mumbai|Delhi|Cairo|Lagos|Nairobi|Moscow|Istanbul|Dubai|Singapore|Hong Kong|Bangkok|Jakarta|Manila|Hanoi|Toronto
Vancouver|Mexico City|São Paulo|Buenos Aires|Lima|Bogotá|Santiago|Lisbon|Vienna|Prague|Warsaw|Athens|Dublin
Brussels|Amsterdam|Copenhagen|Helsinki|Stockholm|Zürich|Geneva|Munich|Hamburg|Milan|Kyiv|Tehran|Karachi|Dhaka
Kathmandu|Honolulu|Denver|Phoenix|Boston|Seattle|San Francisco|Miami|Houston|Dallas|Auckland|Perth|Brisbane
Casablanca|Accra|Riyadh|Doha|Osaka|Taipei|Caracas|Havana|Reykjavik|Edinburgh|Barcelona|Rio de Janeiro|Algiers
Europe/Berlin|America/New_York|Asia/Kolkata|Asia/Tokyo|Australia/Sydney|Europe/London|Africa/Cairo|UTC
America/Los_Angeles|Pacific/Auckland|America/Chicago|Europe/Madrid|Asia/Dubai|America/Toronto|Asia/Shanghai"""
HELD_OUT_CITIES = """Seoul|Oslo|Budapest|Montevideo|Quito|Tallinn|Riga|Sofia|Belgrade|Zagreb|Ankara|Baghdad|Kabul
Tashkent|Colombo|Yangon|Adelaide|Wellington|Anchorage|Detroit|Atlanta|Montreal|Winnipeg|Kingston|La Paz|Dakar
Kampala|Harare|Tunis|Johannesburg|Cape Town|Addis Ababa|Kuala Lumpur|Asia/Seoul|Europe/Oslo|America/Denver
Africa/Lagos|Asia/Manila|Europe/Rome|America/Bogota"""

ZONE_AREAS = ("Europe", "Asia", "America", "Africa", "Australia", "Pacific")
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
EXTENSIONS = ("txt", "md", "csv", "json", "log", "py", "yaml", "ini", "html", "toml", "xml", "cfg", "sh", "rst")

# Whole numbers that only held-out questions contain.
RESERVED = ((33, 39), (61, 68), (350, 449), (720, 799), (3000, 3999), (6200, 6899), (51000, 58999))

_ONSETS = "b c d f g h j k l m n p r s t v w z br ch cl dr fl gr kr pl pr sh sk sl st th tr".split()
_VOWELS = "a e i o u a e i o ai ea ou oo".split()
_CODAS = ["", "", "", *"n r s t l m d k x p".split()]
_LETTERS = "abcdefghijklmnopqrstuvwxyz"


def _reserved(number: int) -> bool:
    return any(low <= number <= high for low, high in RESERVED)


@dataclass(frozen=True)
class Stock:
    """A seeded source of arguments and texts; `held_out` picks the stock that training never sees."""

    rng: random.Random
    held_out: bool = False

    def chance(self, probability: float) -> bool:
        """Return true with this probability."""
        return self.rng.random() < probability

    def whole(self, digits: int = 3) -> int:
        """A whole number above zero of at most about `digits` digits."""
        if self.held_out:
            ranges = [span for span in RESERVED if span[1] < 10**digits] or [RESERVED[0]]
            return self.rng.randint(*self.rng.choice(ranges))
        while True:
            number = self.rng.randrange(1, 10 ** self.rng.randint(1, digits))
            if self.chance(0.05):
                number *= 10
            if not _reserved(number):
                return number

    def number(self, digits: int = 3) -> str:
        """A number as a user types it: mostly whole, sometimes with decimals."""
        text = str(self.whole(digits))
        if self.chance(0.2):
            text += "." + self.rng.choice(("5", "25", "75", str(self.rng.randint(1, 9)), f"{self.rng.randint(0, 9)}3"))
        return text

    def pseudo_word(self) -> str:
        """A pronounceable word that no dictionary has, or now and then a run of letters."""
        rng = self.rng
        if self.chance(0.2):
            return "".join(rng.choice(_LETTERS) for _ in range(rng.randint(2, 8)))
        parts = (rng.choice(_ONSETS) + rng.choice(_VOWELS) + rng.choice(_CODAS) for _ in range(rng.randint(1, 3)))
        return "".join(parts)

    def word(self) -> str:
        """A plain word, in training often an invented one so that copying is learnt rather than a list."""
        if self.held_out:
            return self.rng.choice(HELD_OUT_WORDS)
        return self.pseudo_word() if self.chance(0.45) else self.rng.choice(WORDS)

    def city(self) -> str:
        """A city or IANA zone, in training often an invented one."""
        rng = self.rng
        if self.held_out:
            return rng.choice(HELD_OUT_CITIES.replace("\n", "|").split("|"))
        if self.chance(0.5):
            return rng.choice(CITIES.replace("\n", "|").split("|"))
        name = " ".join(self.pseudo_word().capitalize() for _ in range(rng.choice((1, 1, 1, 1, 2, 3))))
        if self.chance(0.2):
            return f"{rng.choice(ZONE_AREAS)}/{name.replace(' ', '_')}"
        return name.lower() if self.chance(0.25) else name

    def stem(self) -> str:
        """A file or folder name without its extension."""
        rng, name = self.rng, self.word()
        if self.chance(0.3):
            name += rng.choice("-_") + self.word()
        if self.chance(0.25):
            name += rng.choice(("", "-", "_")) + str(self.whole(4))
        if not self.held_out and self.chance(0.15):
            name = rng.choice((name.upper(), name.capitalize()))
        return name

    def directory(self) -> str:
        """A relative folder, one or two levels deep."""
        return "/".join(self.stem() for _ in range(self.rng.choice((1, 1, 1, 2))))

    def file_name(self) -> str:
        """A file name with its extension."""
        return f"{self.stem()}.{self.extension()}"

    def extension(self) -> str:
        """A file extension without its dot, in training at times an invented one."""
        if not self.held_out and self.chance(0.1):
            return self.pseudo_word()[:4]
        return self.rng.choice(EXTENSIONS)

    def path(self) -> str:
        """A relative file path, with or without folders."""
        return f"{self.directory()}/{self.file_name()}" if self.chance(0.4) else self.file_name()

    def sentence(self, longest: int = 7) -> str:
        """Words in a row, at times with a number, a capital or a full stop."""
        parts = [self.word() for _ in range(self.rng.randint(1, longest))]
        if self.chance(0.25):
            parts.insert(self.rng.randrange(len(parts) + 1), self.number(4))
        text = " ".join(parts)
        if self.chance(0.4):
            text = text[0].upper() + text[1:]
        return text + self.rng.choice(("", "", ".", "!", ":", ","))

    def line(self) -> str:
        """One line of a file: prose, a list item, a CSV row, a setting or a bit of code."""
        rng = self.rng
        shape = rng.randrange(8)
        if shape < 4:
            return self.sentence()
        if shape == 4:
            return rng.choice(("- ", "* ", "# ", "## ", f"{rng.randint(1, 9)}. ", "[ ] ")) + self.sentence()
        if shape == 5:
            return ",".join(rng.choice((self.word(), self.number(4))) for _ in range(rng.randint(2, 4)))
        if shape == 6:
            return self.word() + rng.choice((": ", " = ", "=", " -> ")) + rng.choice((self.word(), self.number(4)))
        return rng.choice(('print("{}")', '{{"{}": 1}}', "<p>{}</p>", "({})", "{}@example.org", "`{}`")).format(self.word())
