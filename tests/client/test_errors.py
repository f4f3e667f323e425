import grpc
from google.rpc import status_pb2

from parley_client.errors import DETAILS_KEY, from_rpc_error, from_status
from tests.client.toy_platform import failure


def rpc_error(*metadata: tuple[str, bytes | str]) -> grpc.aio.AioRpcError:
    trailing = grpc.aio.Metadata(*metadata)
    return grpc.aio.AioRpcError(grpc.StatusCode.INTERNAL, grpc.aio.Metadata(), trailing, details="went wrong")


def test_details_that_cannot_be_read_leave_the_plain_status() -> None:
    error = from_rpc_error(rpc_error((DETAILS_KEY, b"\xff\xff")))
    assert (error.code, error.message, error.reason) == (grpc.StatusCode.INTERNAL, "went wrong", "")
    assert str(error) == "INTERNAL: went wrong"


def test_a_status_of_an_event_reads_like_that_of_a_call() -> None:
    status = failure(5, "FILE_NOT_FOUND", "There is no file.", path="x")
    error = from_status(status)
    assert (error.code, error.reason, error.metadata) == (
        grpc.StatusCode.NOT_FOUND,
        "FILE_NOT_FOUND",
        {"path": "x"},
    )
    assert from_rpc_error(rpc_error((DETAILS_KEY, status.SerializeToString()))) == error
    assert error.hint == ""


def test_a_code_that_grpc_does_not_define_is_unknown() -> None:
    assert from_status(status_pb2.Status(code=99)).code is grpc.StatusCode.UNKNOWN
