"""What went wrong, for a person or a program: what happened, the field, the remedy, the next step, the exit code."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from morningai.cli.exit_code import ExitCode
from morningai.errors import InvalidInput, MorningAIError, PermissionDenied, Unauthenticated, Unavailable

if TYPE_CHECKING:
    import grpc
    from google.protobuf.message import Message

    M = TypeVar("M", bound=Message)

EXIT_CODES: tuple[tuple[type[MorningAIError], ExitCode], ...] = (
    (InvalidInput, ExitCode.BAD_INPUT),
    (Unauthenticated, ExitCode.NOT_ALLOWED),
    (PermissionDenied, ExitCode.NOT_ALLOWED),
    (Unavailable, ExitCode.UNREACHABLE),
)
EXIT_CODES_OF_STATUS = {
    "INVALID_ARGUMENT": ExitCode.BAD_INPUT,
    "OUT_OF_RANGE": ExitCode.BAD_INPUT,
    "UNAUTHENTICATED": ExitCode.NOT_ALLOWED,
    "PERMISSION_DENIED": ExitCode.NOT_ALLOWED,
    "UNAVAILABLE": ExitCode.UNREACHABLE,
    "DEADLINE_EXCEEDED": ExitCode.UNREACHABLE,
}
NEXT_STEPS = {
    "UNAUTHENTICATED": "Create a tenant and its key with `morningai tenant create NAME`, or set MORNINGAI_API_KEY.",
    "PERMISSION_DENIED": "Use another key with --key or MORNINGAI_API_KEY.",
    "UNAVAILABLE": "Try again; if it stays so, start the platform with `morningai up` or check the address.",
    "DEADLINE_EXCEEDED": "Try again; if it stays so, look at the logs that `morningai up` named.",
}


@dataclass(frozen=True)
class Problem:
    message: str
    exit_code: ExitCode = ExitCode.FAILED
    reason: str = ""
    field: str = ""
    remedy: str = ""
    next_step: str = ""

    def to_json(self) -> dict[str, object]:
        return {
            "error": {
                "reason": self.reason,
                "message": self.message,
                "field": self.field,
                "remedy": self.remedy,
                "next_step": self.next_step,
                "exit_code": int(self.exit_code),
            }
        }


def problem_of_error(error: MorningAIError) -> Problem:
    exit_code = next((code for kind, code in EXIT_CODES if isinstance(error, kind)), ExitCode.FAILED)
    field = error.field if isinstance(error, InvalidInput) else ""
    return Problem(error.message, exit_code, reason=error.reason, field=field, remedy=error.remedy)


def problem_of_call(error: grpc.RpcError) -> Problem:
    """From a failed call's google.rpc.Status, or from its code alone when nobody of ours answered."""
    code, message = _code_and_message(error)
    exit_code = EXIT_CODES_OF_STATUS.get(code, ExitCode.FAILED)
    reason, remedy = _reason_and_remedy(error)
    if not reason:
        message = _without_an_answer(code, message)
    message = message.removesuffix(remedy).strip() if remedy else message
    return Problem(message, exit_code, reason or code, _field(error), remedy, NEXT_STEPS.get(code, ""))


def _code_and_message(error: grpc.RpcError) -> tuple[str, str]:
    import grpc

    assert isinstance(error, grpc.Call)  # every failed call of a stub is both
    return error.code().name, error.details() or ""


def _without_an_answer(code: str, message: str) -> str:
    if code == "UNAVAILABLE":
        return f"The platform cannot be reached ({message})."
    if code == "DEADLINE_EXCEEDED":
        return "The platform did not answer in time."
    return f"{code}: {message}"


def _reason_and_remedy(error: grpc.RpcError) -> tuple[str, str]:
    from google.rpc.error_details_pb2 import ErrorInfo

    for info in _details(error, ErrorInfo):
        return info.reason, info.metadata.get("remedy", "")
    return "", ""


def _field(error: grpc.RpcError) -> str:
    from google.rpc.error_details_pb2 import BadRequest

    return next((violation.field for bad in _details(error, BadRequest) for violation in bad.field_violations), "")


def _details(error: grpc.RpcError, kind: type[M]) -> list[M]:
    """As in morningai.rpc.status, which would load the server's half with it."""
    from grpc_status import rpc_status

    status = rpc_status.from_call(error)  # type: ignore[arg-type]  # an RpcError of a call is also the call
    found = []
    for packed in status.details if status else ():
        message = kind()
        if packed.Unpack(message):
            found.append(message)
    return found
