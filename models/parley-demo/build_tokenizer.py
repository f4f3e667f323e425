"""Learn the tokenizer from training dialogues: `python models/parley-demo/build_tokenizer.py`."""

import argparse

from parley_demo import phrasebook
from parley_demo.composing import Composer, training_kind
from parley_demo.invented import Stock, seeded
from parley_demo.rendering import MODEL_FOLDER, pieces
from parley_demo.tokens import save_settings, train_tokenizer


def main() -> None:
    """Write `tokenizer.json` and `tokenizer_config.json` beside this script."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dialogues", type=int, default=20_000, help="how many dialogues to learn from")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    rng = seeded(options.seed)
    composer = Composer(Stock(rng), phrasebook.training())
    made = (composer.dialogue(training_kind(rng)) for _ in range(options.dialogues))
    tokenizer = train_tokenizer("".join(text for text, _ in pieces(dialogue, rng)) for dialogue in made)
    tokenizer.save(str(MODEL_FOLDER / "tokenizer.json"))
    save_settings(MODEL_FOLDER)
    print(f"{tokenizer.get_vocab_size()} tokens from {options.dialogues} dialogues")


if __name__ == "__main__":
    main()
