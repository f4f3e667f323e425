"""Turns without a tool: courtesies, questions beyond the model, text to repeat."""

from parley_demo.dialogue import Request
from parley_demo.invented import Stock

ANSWERS = {
    "hello": "Hello! Ask me for a sum, the time, statistics or a file.",
    "thanks": "You are welcome.",
    "bye": "Goodbye!",
    "who": "I am the Parley demonstration model, a small model that calls tools.",
    "can": "I can do sums and statistics, tell the time, and read and list files, each with a tool.",
    "how": "I am well, thank you. What can I do for you?",
}
CANNOT = "I cannot answer that. I am a small demonstration model and know only what my tools tell me."


def courtesy(stock: Stock, kind: str, wording: str) -> Request:
    """A greeting, thanks, a farewell, or a question about the model itself."""
    return Request("greeting", wording, {"name": stock.pseudo_word().capitalize()}, ANSWERS[kind])


def beyond(stock: Stock, wording: str) -> Request:
    """A question that no tool answers."""
    gaps = {
        "city": stock.city(),
        "word": stock.word(),
        "word2": stock.word(),
        "name": " ".join(stock.word().capitalize() for _ in range(stock.rng.choice((1, 2)))),
        "num": stock.number(4),
    }
    return Request("cannot answer", wording, gaps, CANNOT, thought="None of my tools can answer this.")


def repeat(stock: Stock, wording: str) -> Request:
    """Text to say again, character by character: what teaches the model to copy."""
    text = _scramble(stock)
    return Request("repeat", wording, {"text": text}, text, thought="I only repeat this.")


def _scramble(stock: Stock) -> str:
    rng = stock.rng
    makers = (stock.path, stock.city, stock.line, stock.word, stock.sentence, lambda: _digits(stock))
    return " ".join(rng.choice(makers)() for _ in range(rng.choice((1, 2, 3, 4))))


def _digits(stock: Stock) -> str:
    return "".join(stock.rng.choice("00123456789,.*-") for _ in range(stock.rng.randint(2, 12)))
