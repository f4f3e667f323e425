import pytest
from parley_demo.invented import Stock, seeded
from parley_demo.rendering import MODEL_FOLDER
from parley_demo.tokens import encode
from tokenizers import Tokenizer


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.from_file(str(MODEL_FOLDER / "tokenizer.json"))


@pytest.mark.parametrize(
    "text",
    ["17 * 23", "Zürich, São Paulo", "日本語 🙂", '{"a": "b\\nc"}', "\t\n  x", "<think>\nHm.\n</think>"],
)
def test_any_text_comes_back(tokenizer: Tokenizer, text: str) -> None:
    assert tokenizer.decode(tokenizer.encode(text).ids, skip_special_tokens=False) == text


def test_each_digit_is_a_token(tokenizer: Tokenizer) -> None:
    assert tokenizer.encode("20261123").tokens == list("20261123")


def test_markers_are_one_token_and_stay_in_the_text(tokenizer: Tokenizer) -> None:
    for marker in (
        "<think>",
        "</think>",
        "<tool_call>",
        "</tool_call>",
        "<tool_response>",
        "</tool_response>",
    ):
        assert len(tokenizer.encode(marker).ids) == 1
        assert tokenizer.decode(tokenizer.encode(marker).ids, skip_special_tokens=True) == marker


def test_what_is_copied_is_cut_alike_in_question_call_and_result(tokenizer: Tokenizer) -> None:
    stock = Stock(seeded(6))
    for _ in range(200):
        path = stock.path()
        cut = tokenizer.encode(path).tokens
        for around in (
            "Read {} now",
            '{{"name": "file_read", "arguments": {{"file_path": "{}"}}',
            '{{"file_path":"{}","content":"',
        ):
            tokens = tokenizer.encode(around.format(path)).tokens
            assert any(tokens[at : at + len(cut)] == cut for at in range(len(tokens))), path


def test_where_an_argument_begins_counts_more_than_what_is_copied_after_it(tokenizer: Tokenizer) -> None:
    turn = (
        "<think>\nThis needs file_read.\n</think>\n\n<tool_call>\n"
        '{"name": "file_read", "arguments": {"file_path": "a.b"}}\n</tool_call><|im_end|>\n'
    )
    ids, weights = encode(tokenizer, [("Read a.b", False), (turn, True)])
    counts = [(tokenizer.id_to_token(id_), weight) for id_, weight in zip(ids, weights, strict=True)]
    start = counts.index(('": "', 2.0)) + 1
    assert [weight for _, weight in counts[: len(tokenizer.encode("Read a.b").ids)]] == [0.0] * 5
    assert dict(counts)["<think>"] == 4.0
    assert counts[start : start + 3] == [("a", 4.0), (".", 2.0), ("b", 2.0)]
    assert counts[-1][1] == 1.0
