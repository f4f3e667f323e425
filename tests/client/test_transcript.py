from parley.inference.v1 import chat_pb2, message_pb2
from parley_client.client import user_message
from parley_client.transcript import Transcript
from tests.client.toy_platform import calculator_answer


def roles(transcript: Transcript) -> list[int]:
    return [message.role for message in transcript.messages]


def test_an_answer_with_a_tool_becomes_three_messages() -> None:
    transcript = Transcript()
    transcript.messages.append(user_message("What is 17 * 23?"))
    for event in calculator_answer():
        transcript.add(event)
    user, asked, result, answer = transcript.messages
    assert user.content[0].text == "What is 17 * 23?"
    assert (asked.reasoning, asked.tool_calls[0].name) == ("It needs\na calculator.", "calculator")
    assert (result.role, result.tool_call_id) == (message_pb2.ROLE_TOOL, "c1")
    assert answer.content[0].text == "17 * 23 is 391."


def test_two_calls_of_one_turn_stay_one_message() -> None:
    transcript = Transcript()
    for name in ("a", "b"):
        call = message_pb2.ToolCall(id=name, name="t", arguments="{}")
        transcript.add(chat_pb2.ChatEvent(tool_call=chat_pb2.ToolCallReady(call=call)))
    for name in ("b", "a"):
        transcript.add(chat_pb2.ChatEvent(tool_result=chat_pb2.ToolCallResult(call_id=name, content="{}")))
    transcript.end()
    assert roles(transcript) == [message_pb2.ROLE_ASSISTANT, message_pb2.ROLE_TOOL, message_pb2.ROLE_TOOL]


def test_calls_that_were_never_answered_are_left_out() -> None:
    transcript = Transcript()
    transcript.messages.append(user_message("Hi"))
    for name in ("a", "b"):
        call = message_pb2.ToolCall(id=name, name="t", arguments="{}")
        transcript.add(chat_pb2.ChatEvent(tool_call=chat_pb2.ToolCallReady(call=call)))
    transcript.add(chat_pb2.ChatEvent(tool_result=chat_pb2.ToolCallResult(call_id="a", content="{}")))
    transcript.end()
    assert roles(transcript) == [message_pb2.ROLE_USER]


def test_what_was_said_before_a_cancel_stays_and_reasoning_alone_does_not() -> None:
    transcript = Transcript()
    transcript.add(chat_pb2.ChatEvent(content_delta=chat_pb2.ContentDelta(text="Well")))
    transcript.end()
    transcript.add(chat_pb2.ChatEvent(reasoning_delta=chat_pb2.ReasoningDelta(text="hm")))
    transcript.end()
    assert [message.content[0].text for message in transcript.messages] == ["Well"]


def test_calls_that_the_client_must_answer_wait_for_its_answers() -> None:
    transcript = Transcript()
    transcript.messages.append(user_message("How is the weather?"))
    for name in ("mine", "theirs"):
        call = message_pb2.ToolCall(id=name, name="t", arguments="{}")
        transcript.add(chat_pb2.ChatEvent(tool_call=chat_pb2.ToolCallReady(call=call)))
    transcript.add(chat_pb2.ChatEvent(tool_result=chat_pb2.ToolCallResult(call_id="theirs", content="{}")))
    finished = chat_pb2.ChatFinished(reason=chat_pb2.FINISH_REASON_TOOL_CALLS)
    transcript.add(chat_pb2.ChatEvent(finished=finished))
    transcript.answer("mine", "blue")
    transcript.end()
    assert [message.tool_call_id for message in transcript.messages] == ["", "", "theirs", "mine"]
    assert [call.id for call in transcript.messages[1].tool_calls] == ["mine", "theirs"]
