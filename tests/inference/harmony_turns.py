"""What gpt-oss says, right and broken, and its real tokenizer, of the Harmony library's vocabulary."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from services.inference.reading.harmony import encoding
from tests.inference.families import REASONING, Call, compact

FIRST_SPECIAL = 199998
VOCABULARY = 201088

THOUGHT = "<|channel|>analysis<|message|>Hm.<|end|>"

# Each is broken after `THOUGHT`, or has nothing to keep.
BROKEN = {
    "a role that does not exist": THOUGHT + "<|start|>nobody<|channel|>final<|message|>Hi<|return|>",
    "a header that never closes": THOUGHT + "<|start|>assistant<|channel|>final<|end|>"
    "<|start|>assistant<|channel|>final<|message|>Hi<|return|>",
    "two recipients": THOUGHT + "<|start|>assistant<|channel|>commentary to=functions.a to=functions.b"
    "<|message|>{}<|call|>",
    "text between messages": THOUGHT + "Hi there<|return|>",
    "no channel": THOUGHT + "<|start|>assistant<|message|>Hi<|return|>",
    "a format for a channel": THOUGHT + "<|start|>assistant<|constrain|>json<|message|>Hi<|return|>",
    "a header and nothing more": THOUGHT + "<|start|>assistant<|channel|>commentary to=functions.a<|return|>",
}


def turn(content: str = "", calls: Sequence[Call] = ()) -> str:
    """A turn: what is said before calls goes to the commentary channel."""
    said = f"<|channel|>analysis<|message|>{REASONING}<|end|>"
    if content and calls:
        said += f"<|start|>assistant<|channel|>commentary<|message|>{content}<|end|>"
    elif content:
        said += f"<|start|>assistant<|channel|>final<|message|>{content}<|return|>"
    return said + "".join(
        f"<|start|>assistant<|channel|>commentary to=functions.{name} <|constrain|>json<|message|>"
        f"{compact(arguments)}<|call|>"
        for name, arguments in calls
    )


def tokens(text: str) -> list[int]:
    """The text's tokens, markup included."""
    return encoding().encode(text, allowed_special="all")


def write_tokenizer(folder: Path) -> Path:
    """The real vocabulary as a tokenizer of the Hugging Face kind. It decodes; Harmony's library encodes."""
    from transformers import PreTrainedTokenizerFast

    letters = _letters()
    decode = encoding()._inner.decode_bytes
    vocabulary = {"".join(letters[byte] for byte in decode([token])): token for token in range(FIRST_SPECIAL)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = [encoding().decode([token]) for token in range(FIRST_SPECIAL, VOCABULARY)]
    tokenizer.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in special])
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|return|>", clean_up_tokenization_spaces=False
    ).save_pretrained(folder)
    return folder


def _letters() -> dict[int, str]:
    """The letter that stands for each byte in a vocabulary of bytes."""
    visible = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    letters = {byte: chr(byte) for byte in visible}
    hidden = (byte for byte in range(256) if byte not in letters)
    letters.update({byte: chr(256 + at) for at, byte in enumerate(hidden)})
    return letters
