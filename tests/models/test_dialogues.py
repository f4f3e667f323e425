import json

import pytest
from parley_demo import arithmetic, clock, failures, files, judging, statistic
from parley_demo.composing import KINDS, Composer
from parley_demo.dialogue import Call
from parley_demo.invented import Stock, seeded
from parley_demo.phrasebook import training


def _composer(seed: int) -> Composer:
    return Composer(Stock(seeded(seed)), training())


@pytest.mark.parametrize("kind", KINDS)
def test_every_argument_can_be_found_in_the_dialogue(kind: str) -> None:
    composer = _composer(1)
    for _ in range(60):
        dialogue = composer.dialogue(kind)
        said = " ".join((*dialogue.questions, *(request.answer for request in dialogue.requests)))
        for call in dialogue.last.calls:
            for name in ("timezone", "file_path"):
                text = str(call.arguments.get(name, "")).rpartition("/")[2]
                assert text in said, (dialogue.questions, call)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "not offered"])
def test_the_tools_that_are_called_are_offered(kind: str) -> None:
    composer = _composer(2)
    for _ in range(60):
        dialogue = composer.dialogue(kind)
        assert {call.name for call in dialogue.last.calls} <= set(dialogue.offered)


def test_a_tool_that_is_missing_is_not_offered() -> None:
    composer = _composer(3)
    for _ in range(60):
        dialogue = composer.dialogue("not offered")
        assert dialogue.last.missing not in dialogue.offered
        assert dialogue.last.missing in dialogue.last.answer


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("17 * 23", 391),
        ("7 / 2", 3.5),
        ("(2 + 3) ** 2", 25),
        ("sqrt(144)", 12.0),
        ("0.1 + 0.2", 0.3),
        ("-4 % 3", 2),
    ],
)
def test_expressions_have_the_value_that_the_calculator_gives(expression: str, value: float) -> None:
    assert arithmetic.evaluate(expression) == value


def test_long_fractions_are_cut_and_marked() -> None:
    assert arithmetic.shown(5 / 3) == "1.6666..."
    assert arithmetic.shown(2.5) == "2.5"
    assert arithmetic.shown(391) == "391"


def test_a_division_by_zero_is_no_dialogue() -> None:
    assert arithmetic.calculation("1 / 0") is None


def test_figures_come_in_the_tools_own_order() -> None:
    request = statistic.request("statistics", "", {}, [3, 5, 8], ["max", "median"])
    assert request.calls[0].arguments == {"data": [3, 5, 8], "operations": ["max", "median"]}
    assert json.loads(request.calls[0].result) == {"median": 5, "max": 8}
    assert request.answer == "The median is 5 and the maximum is 8."


def test_a_short_file_is_told_whole_and_a_long_one_by_its_first_line() -> None:
    def result(content: str) -> str:
        return json.dumps({"content": content, "total_bytes": len(content)})

    assert files.read_answer("a.txt", result("one\ntwo\n")) == "a.txt says:\none\ntwo"
    assert files.read_answer("a.txt", result("")) == "a.txt is empty."
    assert files.read_answer("a.txt", result("one\n" + "x" * 96)) == "a.txt has 100 bytes and begins:\none"


def test_a_folder_is_told_by_its_entries() -> None:
    entries = [{"name": "a.csv", "type": "file"}, {"name": "old", "type": "directory"}]
    listed = json.dumps({"total_entries": 2, "entries": entries})
    assert files.list_answer(".", listed) == "The workspace has 2 entries: a.csv, old/."
    empty = json.dumps({"total_entries": 0, "entries": []})
    assert files.list_answer("reports", empty) == "reports is empty."
    assert files.list_answer("reports", empty, "*.csv") == "reports has nothing that matches *.csv."


def test_the_time_is_told_with_the_place_as_asked() -> None:
    reading = '{"timezone":"Asia/Seoul","time":"15:04:05","date":"2026-11-23","weekday":"Monday"}'
    answer = clock.answer(Call("time_now", {"timezone": "Seoul"}, reading))
    assert answer == "In Seoul it is 15:04:05 on Monday, 2026-11-23."


def test_a_failure_is_told_in_the_tools_own_words() -> None:
    error = '{"error":{"reason":"FILE_NOT_FOUND","message":"There is no file x in the workspace."}}'
    assert failures.error_answer(error) == "That did not work: There is no file x in the workspace."


def test_judged_sets_hold_every_kind_equally_often() -> None:
    made = judging.held_out_set(33)
    assert {kind: sum(each.kind == kind for each in made) for kind in KINDS} == dict.fromkeys(KINDS, 3)
