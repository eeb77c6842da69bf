"""What a servicer knows of its call: the proof, and the scope that the method demands."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeAlias

import grpc
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.descriptor_pool import Default
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from morningai.api.options.v1 import options_pb2 as options
from morningai.db.session import Database, Session
from morningai.errors import PermissionDenied, Unauthenticated

# Generic for type checkers alone.
Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"

PROOF_KEY = "morningai-proof"


@contextmanager
def to_a_caller_who_may_be_gone() -> Iterator[None]:
    """gRPC fails what is sent to a caller who hung up before it cancels the call here; this ends it as that would."""
    try:
        yield
    except grpc.aio.InternalError as error:
        raise asyncio.CancelledError("The caller hung up.") from error


class CallClass(StrEnum):
    """What a call is counted as by the rate limits; a tenant has one for each."""

    READ = "read"
    WRITE = "write"
    CREATE_TASK = "create_task"
    UPLOAD = "upload"
    WATCH = "watch"


@dataclass(frozen=True)
class MethodRule:
    """A method's options; `full_name` is e.g. /morningai.api.tasks.v1.TaskService/GetTask;
    `streaming` of those that answer with a stream, `receiving` of those that are sent one; `audit_action` is empty of
    those that do not administer.

    A method without a scope is internal and needs no proof.
    """

    full_name: str
    request: type[Message]
    required_scope: str
    internal: bool
    call_class: CallClass
    streaming: bool = False
    receiving: bool = False
    audit_action: str = ""

    @property
    def unproven(self) -> bool:
        return not self.required_scope


@dataclass(frozen=True)
class Call:
    proof: str
    rule: MethodRule

    @property
    def tenant(self) -> str:
        """As the proof says; to be believed of a proof that was just minted, and else once PostgreSQL verified it."""
        return "".join(self.proof.split("|")[2:3])

    @property
    def claimed_scopes(self) -> list[str]:
        """As the proof says: enough to refuse a call before anything is read of it, not to serve one."""
        return "".join(self.proof.split("|")[4:5]).split(",")


CURRENT_CALL: ContextVar[Call] = ContextVar("current_call")


class UndeclaredScope(Exception):
    """A method without a required scope, or a public one without a proof; the server that holds it does not start."""


def rules_of(service: str) -> dict[str, MethodRule]:
    """The rules of each method of a service (full name), from its descriptor. Raises UndeclaredScope."""
    descriptor = Default().FindServiceByName(service)
    return {f"/{service}/{method.name}": _rule(service, method) for method in descriptor.methods}


def _rule(service: str, method: MethodDescriptor) -> MethodRule:
    declared = method.GetOptions().Extensions
    scope, internal = str(declared[options.required_scope]), bool(declared[options.internal])
    if declared[options.unproven] and (scope or not internal):
        raise UndeclaredScope(f"{service}/{method.name} is unproven, but not internal, or declares a required_scope")
    if not scope and not declared[options.unproven]:
        raise UndeclaredScope(f"{service}/{method.name} declares no required_scope")
    request = GetMessageClass(method.input_type)
    return MethodRule(
        f"/{service}/{method.name}",
        request,
        scope,
        internal,
        _call_class(method, scope),
        streaming=bool(method.server_streaming),
        receiving=bool(method.client_streaming),
        audit_action=str(declared[options.audit_action]),
    )


def _call_class(method: MethodDescriptor, scope: str) -> CallClass:
    declared = method.GetOptions().Extensions[options.call_class]
    if declared:
        return CallClass(options.CallClass.Name(declared).removeprefix("CALL_CLASS_").lower())
    if method.client_streaming:
        return CallClass.UPLOAD
    if method.server_streaming:
        return CallClass.WATCH
    return CallClass.READ if scope.endswith(".read") else CallClass.WRITE


@asynccontextmanager
async def rpc_session(database: Database) -> AsyncIterator[Session]:
    """The tenant's session of the current call, if its proof holds the method's scope."""
    call = CURRENT_CALL.get()
    if not call.proof:
        raise _no_proof()
    async with database.tenant_session(call.proof) as session:
        require_scope(call.rule, session.scopes)
        yield session


async def check_scope(database: Database) -> None:
    """For a call that does something before its session, such as asking the network: raises what `rpc_session` does."""
    async with rpc_session(database):
        pass


def begin_call(call: Call) -> Call:
    """Raises Unauthenticated without a proof, unless the method needs none."""
    if not call.proof and not call.rule.unproven:
        raise _no_proof()
    CURRENT_CALL.set(call)
    return call


def check_claim(call: Call) -> None:
    """Raises PermissionDenied for a proof that does not even claim the scope."""
    if not call.rule.unproven:
        require_scope(call.rule, call.claimed_scopes)


def require_scope(rule: MethodRule, scopes: Collection[str]) -> None:
    """Raises PermissionDenied."""
    if rule.required_scope not in scopes:
        raise PermissionDenied(
            f"The key does not have the scope '{rule.required_scope}'.", remedy="Use a key that has it."
        )


def _no_proof() -> Unauthenticated:
    return Unauthenticated("No proof came with the call.")
