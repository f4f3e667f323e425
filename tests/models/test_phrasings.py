from parley_demo import judging
from parley_demo.composing import PLATFORM_TOOLS, TRAINED, Composer, training_kind
from parley_demo.dialogue import Dialogue
from parley_demo.grammar import expand, fill, runs_of_four, words
from parley_demo.invented import RESERVED, Stock, seeded
from parley_demo.phrasebook import held_out, known, training

QUESTIONS = 300


def _runs(dialogues: list[Dialogue]) -> set[tuple[str, ...]]:
    return {run for each in dialogues for request in each.requests for run in runs_of_four(request.wording)}


def test_words_leave_the_arguments_out() -> None:
    assert words("What's the {op} of {data}, please?") == ["what's", "the", "of", "please"]


def test_runs_reach_across_an_argument() -> None:
    assert ("is", "the", "of", "please") in runs_of_four("What is the {op} of {data}, please?")


def test_expanding_chooses_looks_up_and_leaves_gaps() -> None:
    wording = expand("(say|say) <what> {gap} (now|now) ?", {"what": ("it",)}, seeded(1))
    assert fill(wording, {"gap": "x"}) == "say it x now?"


def test_held_out_wordings_share_no_four_words_with_any_known_wording() -> None:
    rng = seeded(1)
    trained: dict[tuple[str, ...], str] = {}
    for patterns in known().patterns.values():
        for pattern in patterns:
            for _ in range(400):
                wording = expand(pattern, known().rules, rng)
                trained.update(dict.fromkeys(runs_of_four(wording), wording))
    judged = {
        run for patterns in held_out().patterns.values() for each in patterns for run in runs_of_four(each)
    }
    assert {" ".join(run): trained[run] for run in judged & trained.keys()} == {}


def test_training_refuses_what_held_out_questions_say() -> None:
    # Joined questions and loose words have runs that no known wording has, so the feed checks each dialogue.
    from parley_demo.batches import Feed
    from parley_demo.rendering import MODEL_FOLDER
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(MODEL_FOLDER / "tokenizer.json"))
    feed = Feed(tokenizer, 1, 2000, judging.banned_runs())
    trained = _runs([feed.dialogue() for _ in range(1500)])
    assert not trained & _runs(judging.held_out_set(QUESTIONS))


def test_held_out_numbers_and_names_are_not_in_training() -> None:
    rng = seeded(2)
    ours, theirs = Stock(rng), Stock(rng, held_out=True)
    assert not {ours.whole(3) for _ in range(3000)} & {theirs.whole(3) for _ in range(3000)}
    assert not {ours.city() for _ in range(3000)} & {theirs.city() for _ in range(3000)}


def test_every_training_kind_has_held_out_wordings() -> None:
    assert set(training().patterns) - {"repeat"} == set(held_out().patterns)


def test_the_same_seed_makes_the_same_dialogues() -> None:
    def some() -> list[Dialogue]:
        rng = seeded(3)
        composer = Composer(Stock(rng), training())
        return [composer.dialogue(training_kind(rng)) for _ in range(40)]

    assert some() == some()


def test_training_draws_from_few_words_and_like_numbers_but_never_from_the_held_out_ones() -> None:
    stock = Stock(seeded(4))
    words, numbers, spans = [], [], []
    for _ in range(60):
        stock.narrow()
        words.append({stock.word() for _ in range(30)})
        numbers += [stock.whole() for _ in range(30)]
        spans += stock.spans
    assert min(map(len, words)) < 15 < max(map(len, words))
    assert sum(any(low <= number <= high for low, high in spans) for number in numbers) > len(numbers) / 4
    assert not any(low <= number <= high for low, high in RESERVED for number in numbers)


def test_judged_dialogues_are_drawn_as_ever_and_not_by_trainings_habits() -> None:
    def catalogues(composer: Composer) -> int:
        made = (composer.dialogue("time_now") for _ in range(200))
        return sum(set(PLATFORM_TOOLS) <= set(dialogue.offered) for dialogue in made)

    judged = catalogues(Composer(Stock(seeded(5)), known()))
    trained = catalogues(Composer(Stock(seeded(5)), training(), TRAINED))
    assert trained < 30 < judged
