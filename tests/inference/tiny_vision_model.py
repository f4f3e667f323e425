"""A folder with a vision model that names the colour that it is shown, for the real engine.

Idefics3's parts, each as small as can be: the tower averages the colour of a patch, the connector puts it
where the language model has the tokens of its colours, and that model's one layer looks at all before, alike.
(LLaVA's like do not load in this set-up: vLLM's modules for them import torchvision, which it leaves out.)
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from tests.inference.spelled import places, spell

if TYPE_CHECKING:
    # Half a minute of imports, which whoever only collects the tests need not wait for.
    from transformers import Idefics3ForConditionalGeneration

CONTEXT_LENGTH = 256
SIDE, PATCH, SHUFFLED = 32, 8, 2
IMAGE_TOKENS = (SIDE // PATCH // SHUFFLED) ** 2
AROUND = 3  # the tokens that stand around an image's own
SIZE = 64
# What is seen counts for less than a token that has something to say.
GLANCE = 0.2

IMAGE, END, PLAIN = "<image>", "<|end|>", "<|plain|>"
FRAMES = ("<fake_token_around_image>", "<global-img>", "<end_of_utterance>")
NAMES = ("red ", "green ", "blue ")
COLOURS = ("<|red|>", "<|green|>", "<|blue|>")
SCRIPTS = (
    *((colour, name, END) for colour, name in zip(COLOURS, NAMES, strict=True)),
    (PLAIN, "Show me ", "something.", END),
)

CHAT_TEMPLATE = """\
{%- for message in messages %}{% for part in message.content -%}
{%- if part.type == 'image' %}<image>{% else %}{{ part.text }}
{%- if loop.last %}<|plain|>{% endif %}{% endif -%}
{%- endfor %}{% endfor %}"""


def make(folder: Path) -> Path:
    """Write the model, its processor and its chat template into the folder."""
    from transformers import Idefics3ImageProcessorPil, Idefics3Processor, PreTrainedTokenizerFast

    tokenizer = _tokenizer()
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=END,
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
    )
    eyes = Idefics3ImageProcessorPil(
        size={"longest_edge": SIDE},
        max_image_size={"longest_edge": SIDE},
        do_image_splitting=False,
        do_normalize=False,
    )
    processor = Idefics3Processor(eyes, wrapped, image_seq_len=IMAGE_TOKENS, chat_template=CHAT_TEMPLATE)
    processor.save_pretrained(folder)
    wrapped.save_pretrained(folder)
    _network(tokenizer).save_pretrained(folder)
    return folder


def _tokenizer() -> Tokenizer:
    """Bytes, and each piece of the scripts as one token."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={byte: at for at, byte in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = (IMAGE, END, PLAIN, *FRAMES, *COLOURS)
    pieces = dict.fromkeys(piece for script in SCRIPTS for piece in script if piece not in special)
    tokenizer.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in special])
    tokenizer.add_tokens([AddedToken(text, normalized=False) for text in pieces])
    return tokenizer


def _network(tokenizer: Tokenizer) -> Idefics3ForConditionalGeneration:
    import torch
    from transformers import Idefics3Config, Idefics3ForConditionalGeneration, LlamaConfig

    scripts = [[tokenizer.token_to_id(piece) for piece in script] for script in SCRIPTS]
    eyes = {
        "hidden_size": SIZE,
        "intermediate_size": SIZE,
        "num_hidden_layers": 1,
        "num_attention_heads": 1,
        "image_size": SIDE,
        "patch_size": PATCH,
    }
    speech = LlamaConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=SIZE,
        intermediate_size=SIZE,
        num_hidden_layers=1,
        num_attention_heads=1,
        num_key_value_heads=1,
        max_position_embeddings=CONTEXT_LENGTH,
        eos_token_id=tokenizer.token_to_id(END),
        bos_token_id=None,
        pad_token_id=None,
        tie_word_embeddings=False,
    )
    config = Idefics3Config(
        vision_config=eyes,
        text_config=speech,
        image_token_id=tokenizer.token_to_id(IMAGE),
        scale_factor=SHUFFLED,
        tie_word_embeddings=False,
        pad_token_id=None,
        eos_token_id=tokenizer.token_to_id(END),
    )
    torch.manual_seed(0)
    network = Idefics3ForConditionalGeneration(config).to(torch.bfloat16)
    spell(network, *scripts)
    _see(network, [places(*scripts)[tokenizer.token_to_id(colour)] for colour in COLOURS])
    return network


def _see(network: Idefics3ForConditionalGeneration, dimensions: list[int]) -> None:
    """Lead a patch's red, green and blue to these dimensions of the language model, and to its last token."""
    import torch

    weights = dict(network.named_parameters())

    def named(ending: str) -> torch.Tensor:
        (found,) = [weight for name, weight in weights.items() if name.endswith(ending)]
        return found

    with torch.no_grad():
        for channel, at in enumerate(dimensions):
            named("patch_embedding.weight")[channel, channel] = 1 / PATCH**2
            named("modality_projection.proj.weight")[at, channel] = 1
            named("text_model.layers.0.self_attn.v_proj.weight")[channel, at] = GLANCE
            named("text_model.layers.0.self_attn.o_proj.weight")[at, channel] = 1


if __name__ == "__main__":
    print(make(Path(sys.argv[1])))
