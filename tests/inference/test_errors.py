from __future__ import annotations

from datetime import timedelta

from parley.inference.v1 import error_reason_pb2
from services.inference import errors
from services.inference.adapters import errors as adapter_errors
from services.inference.calling import errors as call_errors
from services.inference.conversations import errors as conversation_errors
from services.inference.images import errors as image_errors
from services.inference.resumption import errors as resume_errors
from services.inference.rollouts import errors as rollout_errors


def concrete() -> set[type[errors.InferenceError]]:
    return set(errors.InferenceError.__subclasses__())


def test_every_reason_has_one_class() -> None:
    reasons = [error.reason for error in concrete()]
    declared = set(error_reason_pb2.ErrorReason.values()) - {error_reason_pb2.ERROR_REASON_UNSPECIFIED}
    assert sorted(reasons) == sorted(declared)


def test_every_error_makes_a_status_in_our_domain() -> None:
    place = image_errors.ImagePlace(0, 0)
    made = [
        errors.ModelNotFound("m", ["b", "a"]),
        errors.ModelNotReady("m"),
        errors.ContextOverflow(1, 2, 3),
        errors.MessagesInvalid("no"),
        call_errors.ToolNotOffered("t", []),
        errors.RunNotFound("r"),
        errors.EngineFailed("m"),
        errors.OutputUnparseable("m"),
        call_errors.CallNotWaiting("r", "c"),
        call_errors.ClientToolInvalid("t", "no"),
        call_errors.ToolNameTaken("t"),
        call_errors.ApprovalRequired("t"),
        call_errors.ApprovalDenied("t", "no"),
        call_errors.ApprovalLapsed("t", 1),
        call_errors.ClientToolTimeout("t", 1),
        call_errors.ClientToolFailed("t", "no"),
        call_errors.CallLost("t"),
        call_errors.ToolArgumentsRejected("t", "no"),
        errors.TurnQueueFull(8),
        errors.ConversationFull(1, 2),
        errors.BodyInvalid("no"),
        errors.ParameterInvalid("p", "no"),
        errors.ParameterUnsupported("p"),
        conversation_errors.ConversationNotFound("c"),
        conversation_errors.ConversationBusy("c"),
        conversation_errors.ConversationChanged("c", "m"),
        conversation_errors.MessageNotFound("c", "m"),
        conversation_errors.TooManyConversations(1),
        conversation_errors.ConversationsOff(),
        errors.TokenUnknown("sampling.logit_bias", 9, 8),
        errors.StructuredOutputInvalid("structured_output", "no"),
        errors.StructuredOutputTooComplex("structured_output", 1),
        call_errors.NoToolToCall(),
        errors.ModelLacks("m", "tool_choice"),
        errors.ModelOfOtherKind("m", embeds=True),
        errors.DimensionsNotOffered("m", 3),
        resume_errors.RunLost("r"),
        resume_errors.EventsGone("r", 7),
        resume_errors.ResumeFull(),
        errors.ReaderTooSlow(30),
        image_errors.ImageUnreadable(place),
        image_errors.ImageFormatRefused(place, "no", ["image/png"]),
        image_errors.ImageTooLarge(place, "bytes", 2, 1),
        image_errors.TooManyImages(2, 1),
        image_errors.ImageNotInline("messages[0].content[0].image_url"),
        rollout_errors.RolloutNotFound("r"),
        rollout_errors.RolloutRunning("r"),
        rollout_errors.RolloutInvalid("variants", "no"),
        rollout_errors.VariantModelUnavailable("v", "m"),
        rollout_errors.VariantElsewhere("r", "v", "m"),
        rollout_errors.RolloutsOff(),
        rollout_errors.TooManyRollouts(1),
        adapter_errors.AdaptersOff("m"),
        adapter_errors.AdapterNotFound("a"),
        adapter_errors.AdapterInvalid("a", "no"),
        adapter_errors.TooManyAdapters(1),
    ]
    assert {type(error) for error in made} == concrete()
    assert {error.domain() for error in made} == {"inference.parley"}
    assert all(error.to_status().details for error in made)


def test_what_may_pass_says_when_to_try_again() -> None:
    assert errors.ModelNotReady("m").retry_after == timedelta(seconds=5)
    assert errors.EngineFailed("m").retry_after == timedelta(seconds=5)
