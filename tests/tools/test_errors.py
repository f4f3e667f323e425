from __future__ import annotations

import inspect
from datetime import timedelta

import pytest

from parley.tools.v1 import error_reason_pb2
from services.rpc.errors import Overloaded
from services.tools import call_errors, database_errors, errors, mcp_errors, web_errors
from services.tools.errors import (
    FileMissing,
    InvalidArguments,
    TimezoneUnknown,
    ToolsError,
    ToolTimeout,
    dismantled,
    rebuild,
)

TAKE_A_NUMBER = (
    ToolTimeout,
    errors.OutputTooLarge,
    errors.PatternTooSlow,
    web_errors.ResponseTooLarge,
    database_errors.StatementTimeout,
    database_errors.TooManyRows,
    web_errors.TooManyRedirects,
)


def test_every_reason_of_the_contract_has_one_error() -> None:
    reasons = sorted(error.reason for error in ToolsError.__subclasses__())
    assert call_errors.OutcomeUnknown in ToolsError.__subclasses__()
    assert mcp_errors.McpProtocolError in ToolsError.__subclasses__()
    assert reasons == sorted(set(error_reason_pb2.ErrorReason.values()) - {0})


def test_every_error_carries_the_metadata_that_the_contract_promises() -> None:
    made = [
        kind(
            *["7"]
            * len([p for p in list(inspect.signature(kind).parameters.values()) if p.default is p.empty])
        )
        if kind not in TAKE_A_NUMBER
        else kind("7", 7)
        for kind in ToolsError.__subclasses__()
    ]
    assert all(error.metadata.keys() == set(error.policy().metadata_keys) for error in made)


def test_an_error_is_rebuilt_as_it_was() -> None:
    original = FileMissing("notes/x.txt", "file")
    copy = rebuild(**dismantled(original))
    assert isinstance(copy, FileMissing)
    assert copy.to_status() == original.to_status()
    assert str(copy) == "There is no file notes/x.txt in the workspace."


def test_an_error_that_any_service_gives_is_rebuilt_with_its_delay() -> None:
    """Its reason is a number that another error of this service has too."""
    original = Overloaded("Try again.", retry_after=timedelta(seconds=1.5))
    copy = rebuild(**dismantled(original))
    assert isinstance(copy, Overloaded)
    assert copy.to_status() == original.to_status()


def test_an_error_of_another_house_is_not_rebuilt() -> None:
    with pytest.raises(KeyError):
        rebuild("tools.parley", 999, "x", {}, None)
    with pytest.raises(KeyError):
        rebuild("inference.parley", InvalidArguments.reason, "x", {"tool": "y"}, None)
    with pytest.raises(ValueError, match="promises the metadata"):
        rebuild("tools.parley", InvalidArguments.reason, "x", {"other": "y"}, None)


def test_a_hint_is_given_only_where_there_is_one() -> None:
    assert str(TimezoneUnknown("Soul", "Asia/Seoul")).endswith("Did you mean Asia/Seoul?")
    assert "Did you mean" not in str(TimezoneUnknown("qqq", ""))
