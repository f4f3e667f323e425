from parley_demo.dialogue import Call
from parley_demo.judging import Verdict, same_answer, same_calls, scores, table

SUM = Call("calculator", {"expression": "17 * 23"}, "")
CLOCK = Call("time_now", {}, "")


def test_spaces_in_a_sum_do_not_count() -> None:
    assert same_calls([SUM], [("calculator", '{"expression":"17*23"}')])


def test_another_tool_argument_or_order_is_wrong() -> None:
    assert not same_calls([SUM], [("statistics", '{"expression": "17 * 23"}')])
    assert not same_calls([SUM], [("calculator", '{"expression": "17 * 24"}')])
    assert not same_calls([SUM, CLOCK], [("time_now", "{}"), ("calculator", '{"expression": "17 * 23"}')])
    assert not same_calls([SUM], [])
    assert not same_calls([], [("time_now", "{}")])


def test_arguments_that_are_no_json_object_are_wrong() -> None:
    assert not same_calls([SUM], [("calculator", '{"expression": ')])
    assert not same_calls([SUM], [("calculator", "[17]")])


def test_answers_are_compared_character_for_character() -> None:
    assert same_answer("17 * 23 = 391.", "\n17 * 23 = 391. ")
    assert not same_answer("17 * 23 = 391.", "17 * 23 = 392.")


def test_scores_count_each_kind_and_all() -> None:
    found = scores([Verdict("a", True, True), Verdict("b", True, False), Verdict("b", False, False)])
    assert [(score.kind, score.questions, score.calls, score.answers) for score in found] == [
        ("a", 1, 1, 1),
        ("b", 2, 1, 0),
        ("all", 3, 2, 1),
    ]
    assert "66.7 %" in table("known", found).splitlines()[-1]
