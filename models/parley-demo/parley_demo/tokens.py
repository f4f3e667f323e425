"""The tokenizer: byte-level BPE in which digits, spaces and marks stand alone, so that copies line up."""

import json
from collections.abc import Iterable
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from parley_demo.rendering import Piece

VOCABULARY = 1152
PAD, TURN, END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
MARKERS = ("<think>", "</think>", "<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>")

# The fixed parts of calls and results are one token each: fewer to learn, and what is copied stands out.
LITERALS = (
    *(
        '{"name": "',
        '", "arguments": {"',
        '", "arguments": {}',
        '": "',
        '": [',
        '"], "',
        '": ["',
        '", "',
        '"}}',
    ),
    *('"]}}', '{"expression":"', '","result":', '{"timezone":"', '","time":"', '","date":"', '","weekday":"'),
    *('","utc_offset":"', '{"file_path":"', '","content":"', '","encoding":"utf-8","total_bytes":'),
    *(',"truncated":false}', ',"truncated":true}', '{"directory":"', '","total_entries":', ',"entries":['),
    *('{"name":"', '","type":"file","size_bytes":', '},{"name":"', '","type":"directory","size_bytes":'),
    *('{"error":{"reason":"', '","message":"', '"}', '":', ',"', '{"'),
    *("time_now", "file_read", "file_list", "file_path"),
)

# The few tokens of reasoning decide what follows, and the first of an argument decides where it is copied
# from; among all that is copied they would hardly be heard.
_DECISION, _START, _ARGUMENT = 4.0, 4.0, 2.0
_OPENERS = ('": "', '": [', '": ["', '", "')

# An escape of JSON is its own piece, or the `n` of `\n` would change how the next word is cut.
_PIECES = r"""\\["\\/bfnrt]|\p{L}+|\p{N}|[^\p{L}\p{N}]"""


def train_tokenizer(texts: Iterable[str]) -> Tokenizer:
    """Learn the vocabulary from rendered dialogues."""
    tokenizer = Tokenizer(models.BPE())
    split = pre_tokenizers.Split(Regex(_PIECES), behavior="isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [split, pre_tokenizers.ByteLevel(False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    added = [AddedToken(text, special=False, normalized=False) for text in (*MARKERS, *LITERALS)]
    special = [AddedToken(text, special=True, normalized=False) for text in (PAD, TURN, END)]
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - len(added),
        special_tokens=special,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    # While the merges are learnt the literals are cut out, or they would fill the vocabulary.
    tokenizer.train_from_iterator((_without_literals(text) for text in texts), trainer)
    tokenizer.add_tokens(added)
    return tokenizer


def _without_literals(text: str) -> str:
    for literal in (*MARKERS, *sorted(LITERALS, key=len, reverse=True)):
        text = text.replace(literal, " ")
    return text


def save_settings(folder: Path) -> None:
    """Write the settings that transformers and vLLM read beside `tokenizer.json`."""
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": 4096,
        "eos_token": END,
        "pad_token": PAD,
        "clean_up_tokenization_spaces": False,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


def encode(tokenizer: Tokenizer, parts: list[Piece]) -> tuple[list[int], list[float]]:
    """The ids of a dialogue and how much each counts in the loss; what is given counts nothing."""
    marks = {text: tokenizer.token_to_id(text) for text in ("</think>", "<tool_call>", "</tool_call>")}
    openers = {tokenizer.token_to_id(text) for text in _OPENERS}
    ids: list[int] = []
    weights: list[float] = []
    for text, learn in parts:
        new = tokenizer.encode(text, add_special_tokens=False).ids
        ids += new
        weights += _weights(new, marks, openers) if learn else [0.0] * len(new)
    return ids, weights


def _weights(ids: list[int], marks: dict[str, int], openers: set[int]) -> list[float]:
    """How much each token of an assistant's turn counts."""
    weights = [1.0] * len(ids)
    if marks["</think>"] in ids:
        decides = ids.index(marks["</think>"])
        weights[:decides] = [_DECISION] * decides
    inside = False
    for at, id_ in enumerate(ids):
        inside = id_ == marks["<tool_call>"] or (inside and id_ != marks["</tool_call>"])
        if inside:
            weights[at] = _START if ids[at - 1] in openers else _ARGUMENT
    return weights
