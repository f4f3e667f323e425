"""A model folder whose weights spell a script, so that the real engine says known things.

The network is a Llama whose attention and feed-forward parts are zero: what
comes next depends on the last token alone. The chat template picks the script
by the last message, so a conversation can be led through a tool call and its
answer in milliseconds, on any machine, without trained weights.
"""

from __future__ import annotations

import sys
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

if TYPE_CHECKING:
    # Half a minute of imports, which whoever only collects the tests need not wait for.
    from transformers import LlamaForCausalLM

CONTEXT_LENGTH = 1024
HEAD_SIZE = 64
SHARPNESS = 8.0

SPECIAL = ("<|im_start|>", "<|im_end|>", "<|after_tool|>", "<|count|>", "<|plain|>", "<|call|>")
MARKERS = ("<think>", "</think>", "<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>")

CALL = (
    "<|call|>",
    "<think>",
    "The calculator ",
    "will know.",
    "</think>",
    "<tool_call>",
    '{"name": "',
    "calculator",
    '", "arguments": ',
    '{"expression": "',
    "17 * 23",
    '"}',
    "}",
    "</tool_call>",
    "<|im_end|>",
)
AFTER_TOOL = ("<|after_tool|>", "It is ", "three hundred ", "and ninety-one.", "<|im_end|>")
PLAIN = ("<|plain|>", "Hello, ", "world.", "<|im_end|>")
COUNT = ("<|count|>", "one ", "two ", "three ", "four ", "one ")
SCRIPTS = (CALL, AFTER_TOOL, PLAIN, COUNT)

CHAT_TEMPLATE = """\
{%- if tools %}<|im_start|>system
{% for tool in tools %}{{ tool.function.name }} {% endfor %}<|im_end|>
{% endif -%}
{%- for message in messages %}<|im_start|>{{ message.role }}
{{ message.content }}{% for call in message.tool_calls or [] -%}
<tool_call>{{ call.function | tojson }}</tool_call>{% endfor %}<|im_end|>
{% endfor -%}
{%- if add_generation_prompt %}<|im_start|>assistant
{% set last = messages[-1] -%}
{%- if last.role == 'tool' %}<think></think><|after_tool|>
{%- elif 'count' in last.content %}<think></think><|count|>
{%- elif tools %}<|call|>
{%- else %}<think></think><|plain|>{% endif %}{% endif %}"""


def make(folder: Path) -> Path:
    """Write the model, its tokenizer and its chat template into the folder."""
    from transformers import PreTrainedTokenizerFast

    tokenizer = _tokenizer()
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
    )
    wrapped.save_pretrained(folder)
    _network(tokenizer).save_pretrained(folder)
    return folder


def _tokenizer() -> Tokenizer:
    """Bytes, and each piece of the scripts as one token."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={byte: at for at, byte in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    pieces = dict.fromkeys(piece for script in SCRIPTS for piece in script if piece not in SPECIAL + MARKERS)
    tokenizer.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in SPECIAL])
    tokenizer.add_tokens([AddedToken(text, special=False, normalized=False) for text in (*MARKERS, *pieces)])
    return tokenizer


def _network(tokenizer: Tokenizer) -> LlamaForCausalLM:
    """A Llama that answers every token with the script's next one."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    size = tokenizer.get_vocab_size()
    hidden = -(-size // HEAD_SIZE) * HEAD_SIZE
    torch.manual_seed(0)
    network = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=size,
            hidden_size=hidden,
            intermediate_size=HEAD_SIZE,
            num_hidden_layers=1,
            num_attention_heads=hidden // HEAD_SIZE,
            num_key_value_heads=1,
            max_position_embeddings=CONTEXT_LENGTH,
            eos_token_id=tokenizer.token_to_id("<|im_end|>"),
            bos_token_id=None,
            tie_word_embeddings=False,
        )
    ).to(torch.bfloat16)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.dim() > 1:
                parameter.zero_()
        network.model.embed_tokens.weight[:, :size] = torch.eye(size)
        for script in SCRIPTS:
            for token, following in pairwise(script):
                network.lm_head.weight[tokenizer.token_to_id(following), tokenizer.token_to_id(token)] = (
                    SHARPNESS
                )
    return network


if __name__ == "__main__":
    print(make(Path(sys.argv[1])))
