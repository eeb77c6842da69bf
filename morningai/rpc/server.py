"""A gRPC server of ours: health, errors as statuses, and the proof of each call taken from its metadata."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import ExitStack, aclosing, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

import grpc
import structlog
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from opentelemetry.instrumentation.grpc import aio_server_interceptor
from opentelemetry.instrumentation.grpc.filters import health_check, negate
from psycopg import OperationalError
from psycopg_pool import PoolTimeout

from morningai.deadline import begin_deadline, is_past
from morningai.errors import DeadlineExceeded, MorningAIError, Permanent, Unauthenticated, Unavailable, plain
from morningai.logging import bind_contextvars, clear_contextvars
from morningai.rpc.call import (
    CURRENT_CALL,
    PROOF_KEY,
    Call,
    Context,
    MethodRule,
    begin_call,
    check_claim,
    rules_of,
    to_a_caller_who_may_be_gone,
)
from morningai.rpc.limits import TenantCalls
from morningai.rpc.listening import Deadlines, Listening
from morningai.rpc.refusals import REFUSALS
from morningai.rpc.registry import HEALTH, REFLECTION, RuledServer, is_open
from morningai.rpc.request import MOST_READ_ON_OF_REFUSED_BYTES, Requests, read_on
from morningai.rpc.status import abort
from morningai.rpc.tls import check_plaintext, server_credentials

log = structlog.get_logger()

READ_ON_OF_REFUSED_SECONDS = 2.0
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
# Turns the call's metadata into a proof; empty when there is none.
Prove: TypeAlias = Callable[[Context], Awaitable[str]]
# Raises RateLimited for a call that comes too early.
Admit: TypeAlias = Callable[[str, MethodRule], Awaitable[None]]
Metadata: TypeAlias = Iterable[tuple[str, str | bytes]]
# Raises what is known already to refuse a call with this metadata.
Refuse: TypeAlias = Callable[[Metadata, MethodRule], None]
# Told of each refused call of a method that administers, with its request once that was read.
OnRefusal: TypeAlias = Callable[[Call, MorningAIError, object], Awaitable[None]]
Unary: TypeAlias = Callable[[object, Context], Awaitable[object]]
Streaming: TypeAlias = Callable[[object, Context], AsyncIterator[object]]
ReadUnary: TypeAlias = Callable[[AsyncIterator[bytes], Context], Awaitable[object]]
ReadStreaming: TypeAlias = Callable[[AsyncIterator[bytes], Context], AsyncIterator[object]]
# What a behaviour gets of the bytes that were received: its request, its requests, or the bytes.
Takes: TypeAlias = Callable[[AsyncIterator[bytes], MethodRule], Awaitable[object]]


async def internal_proof(context: Context) -> str:
    """Between services the proof itself travels."""
    return metadata_value(context, PROOF_KEY)


def refuse_none(metadata: Metadata, rule: MethodRule) -> None:
    """Every call is looked at."""


async def admit_all(proof: str, rule: MethodRule) -> None:
    """Between services nothing is limited."""


async def record_none(call: Call, error: MorningAIError, request: object) -> None:
    """For a server whose methods administer nothing."""


def metadata_value(context: Context, key: str) -> str:
    return value_of(context.invocation_metadata() or (), key)


def value_of(metadata: Metadata, key: str) -> str:
    return next((str(value) for name, value in metadata if name == key), "")


class RefusingInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]  # not generic at run time
    """Refuses before anything is spent on a call: a flood gets no span, no line in the log and no request parsed."""

    def __init__(self, rules: Mapping[str, MethodRule], refuse: Refuse) -> None:
        self._rules = rules
        self._refuse = refuse

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler]],
        details: grpc.HandlerCallDetails,
    ) -> Handler:
        rule = self._rules.get(details.method)
        if rule is not None:
            try:
                self._refuse(details.invocation_metadata or (), rule)
            except MorningAIError as error:
                return _refusing(error, rule)
        return await continuation(details)


def _refusing(error: MorningAIError, rule: MethodRule) -> Handler:
    async def refuse(received: AsyncIterator[bytes], context: Context) -> None:
        if rule.receiving:
            await _read_on_for_a_moment(received)
        await abort(context, error)

    # Takes every kind of call, and none of its messages as a request.
    return grpc.stream_stream_rpc_method_handler(refuse)


class ClosingInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]  # not generic at run time
    """Closes a stream in the task that ran it when the caller hangs up; left to the garbage collector, its span would
    be closed in another context."""

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler]],
        details: grpc.HandlerCallDetails,
    ) -> Handler:
        handler = await continuation(details)
        if handler is None or not handler.response_streaming:
            return handler
        behaviour = _written(cast(Streaming, handler.stream_stream or handler.unary_stream))
        codecs = {
            "request_deserializer": handler.request_deserializer,
            "response_serializer": handler.response_serializer,
        }
        if handler.request_streaming:
            return grpc.stream_stream_rpc_method_handler(behaviour, **codecs)
        return grpc.unary_stream_rpc_method_handler(behaviour, **codecs)


def _written(behaviour: Streaming) -> Callable[[object, Context], Awaitable[None]]:
    async def call(request: object, context: Context) -> None:
        async with aclosing(cast("AsyncGenerator[object, None]", behaviour(request, context))) as responses:
            async for response in responses:
                with to_a_caller_who_may_be_gone():
                    await context.write(response)

    return call


class CallInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]  # not generic at run time
    """Finds each call's rule and proof, reads its request, and maps what it raises to a status."""

    def __init__(
        self,
        rules: Mapping[str, MethodRule],
        prove: Prove,
        admit: Admit,
        *,
        on_refusal: OnRefusal,
        listening: Listening,
        open_services: Collection[str] = (HEALTH,),
    ) -> None:
        self._rules = rules
        self._deadlines = listening.deadlines
        self._tenant_calls = TenantCalls(listening.limits)
        self._prove = prove
        self._admit = admit
        self._on_refusal = on_refusal
        self._open_services = open_services

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler]],
        details: grpc.HandlerCallDetails,
    ) -> Handler:
        """A method without a rule is as unknown as one that does not exist."""
        handler = await continuation(details)
        rule = self._rules.get(details.method)
        if handler is None or is_open(details.method, self._open_services):
            return handler
        if rule is None:
            return cast(Handler, None)
        terms = Terms(rule, self._prove, self._admit, self._on_refusal, self._deadlines, self._tenant_calls)
        return _wrapped(handler, terms)


@dataclass(frozen=True)
class Terms:
    """On which a method is served."""

    rule: MethodRule
    prove: Prove
    admit: Admit
    on_refusal: OnRefusal
    deadlines: Deadlines
    tenant_calls: TenantCalls


def _wrapped(handler: Handler, terms: Terms) -> Handler:
    """Takes bytes, so that a request is read here, behind the proof; a handler without a deserializer wants them."""
    behaviour = handler.stream_stream or handler.unary_stream or handler.stream_unary or handler.unary_unary
    takes = _as_sent if handler.request_deserializer is None else _all if handler.request_streaming else _only
    codec = {"response_serializer": handler.response_serializer}
    if handler.response_streaming:
        return grpc.stream_stream_rpc_method_handler(_streaming(cast(Streaming, behaviour), takes, terms), **codec)
    return grpc.stream_unary_rpc_method_handler(_unary(cast(Unary, behaviour), takes, terms), **codec)


async def _as_sent(received: AsyncIterator[bytes], _: MethodRule) -> object:
    return received


async def _all(received: AsyncIterator[bytes], rule: MethodRule) -> object:
    return Requests(received, rule.request)


async def _only(received: AsyncIterator[bytes], rule: MethodRule) -> object:
    return await Requests(received, rule.request).only()


def _unary(behaviour: Unary, takes: Takes, terms: Terms) -> ReadUnary:
    async def call(received: AsyncIterator[bytes], context: Context) -> object:
        request: object = None
        try:
            async with _time_of_call(context, terms), _begun(context, terms, received):
                request = await _or_read_on(takes(received, terms.rule), received)
                return await _or_read_on(behaviour(request, context), received)
        except Exception as error:  # the gRPC boundary
            await _fail(context, terms, error, request)
            raise

    return call


def _streaming(behaviour: Streaming, takes: Takes, terms: Terms) -> ReadStreaming:
    async def call(received: AsyncIterator[bytes], context: Context) -> AsyncIterator[object]:
        request: object = None
        try:
            async with _time_of_call(context, terms), _begun(context, terms, received):
                request = await _or_read_on(takes(received, terms.rule), received)
                async with aclosing(cast("AsyncGenerator[object, None]", behaviour(request, context))) as responses:
                    async for response in responses:
                        yield response
        except Exception as error:  # noqa: BLE001  # the gRPC boundary
            await _fail(context, terms, error, request)

    return call


def _time_of_call(context: Context, terms: Terms) -> asyncio.Timeout:
    """gRPC cancels a call at the deadline that its caller set, which cancels its SQL and its upstream calls, too; at
    one of ours this does."""
    seconds, ended_by_grpc = terms.deadlines.seconds_for(context, streaming=terms.rule.streaming)
    begin_deadline(seconds)
    return asyncio.timeout(None if ended_by_grpc else seconds)


async def _or_read_on(doing: Awaitable[object], received: AsyncIterator[bytes]) -> object:
    try:
        return await doing
    except Permanent:
        await read_on(received)
        raise


@asynccontextmanager
async def _begun(context: Context, terms: Terms, received: AsyncIterator[bytes]) -> AsyncIterator[None]:
    clear_contextvars()
    bind_contextvars(method=terms.rule.full_name)
    with ExitStack() as held:
        try:
            call = begin_call(Call(await terms.prove(context), terms.rule))
            await terms.admit(call.proof, terms.rule)
            check_claim(call)
            held.enter_context(terms.tenant_calls.hold(call))
        except MorningAIError:
            await _read_on_for_a_moment(received)
            raise
        yield


async def _read_on_for_a_moment(received: AsyncIterator[bytes]) -> None:
    """For a caller that is refused before its request is read."""
    with suppress(TimeoutError):
        async with asyncio.timeout(READ_ON_OF_REFUSED_SECONDS):
            await read_on(received, MOST_READ_ON_OF_REFUSED_BYTES)


async def _fail(context: Context, terms: Terms, error: Exception, request: object) -> None:
    if isinstance(error, grpc.aio.AbortError):
        raise error
    if isinstance(error, NotImplementedError):  # what the generated servicers raise
        with to_a_caller_who_may_be_gone():
            await context.abort(grpc.StatusCode.UNIMPLEMENTED, "The method is not served here.")
    if isinstance(error, (OperationalError, PoolTimeout, TimeoutError)) and is_past():
        error = DeadlineExceeded("The call's time was up before its work was done.", remedy="Allow it more time.")
    elif isinstance(error, (OperationalError, PoolTimeout)):
        error = Unavailable("The database does not answer.")
    if not isinstance(error, MorningAIError):
        log.exception("rpc.call.crashed", method=terms.rule.full_name)
        error = MorningAIError("Something went wrong here; the log has it under this trace.")
    elif not isinstance(error, Unauthenticated):
        log.info("rpc.call.refused", reason=error.reason, error=plain(str(error)))
    call = CURRENT_CALL.get(None)
    if call and call.rule.audit_action and isinstance(error, REFUSALS):
        await terms.on_refusal(call, error, request)
    await abort(context, error)


def _credentials(address: str, listening: Listening) -> grpc.ServerCredentials | None:
    if listening.certificates and not address.startswith("unix:"):
        return server_credentials(listening.certificates)
    check_plaintext(address, allowed=listening.allow_plaintext)
    return None


class RpcServer:
    """One listening server; `health` turns SERVING with `start`. A `public` one serves no internal method."""

    def __init__(
        self,
        address: str,
        services: Sequence[str],
        *,
        prove: Prove = internal_proof,
        admit: Admit = admit_all,
        refuse: Refuse = refuse_none,
        on_refusal: OnRefusal = record_none,
        listening: Listening | None = None,
        public: bool = False,
    ) -> None:
        """Raises UndeclaredScope when a method of the services declares no scope, SettingsInvalid for wrong
        certificates, and for none where other machines can reach the address."""
        listening = listening or Listening()
        self._credentials = _credentials(address, listening)
        rules = {name: rule for service in services for name, rule in rules_of(service).items()}
        served = {name: rule for name, rule in rules.items() if not (public and rule.internal)}
        open_services = (HEALTH, REFLECTION) if listening.reflection else (HEALTH,)
        server = grpc.aio.server(
            interceptors=[
                RefusingInterceptor(served, refuse),
                ClosingInterceptor(),
                aio_server_interceptor(filter_=negate(health_check())),  # type: ignore[no-untyped-call]
                CallInterceptor(
                    served, prove, admit, on_refusal=on_refusal, listening=listening, open_services=open_services
                ),
            ],
            options=[*listening.limits.options(), ("grpc.so_reuseport", 0)],
            maximum_concurrent_rpcs=listening.limits.concurrent_calls,
        )
        self.server = RuledServer(server, rules, open_services)
        if listening.reflection:
            from morningai.rpc.reflection import add_reflection  # for the few that want it

            add_reflection(self.server, rules)
        self.health = health.aio.HealthServicer()  # type: ignore[attr-defined]  # the stubs are older
        health_pb2_grpc.add_HealthServicer_to_server(self.health, self.server)
        self._address = address

    async def start(self) -> None:
        """Raises OSError when the address cannot be had."""
        try:
            if self._add_port() == 0:
                raise RuntimeError(f"cannot listen on {self._address}")
        except RuntimeError as error:
            raise OSError(f"Cannot listen on {self._address}: {error}") from error
        await self.server.start()
        await self.health.set("", health_pb2.HealthCheckResponse.SERVING)

    def _add_port(self) -> int:
        if self._credentials is None:
            return self.server.add_insecure_port(self._address)
        return self.server.add_secure_port(self._address, self._credentials)

    async def set_serving(self, serving: bool) -> None:
        """What the health check says; once the server stops, no more."""
        status = health_pb2.HealthCheckResponse.SERVING if serving else health_pb2.HealthCheckResponse.NOT_SERVING
        await self.health.set("", status)

    async def stop(self, grace_seconds: float) -> None:
        await self.health.enter_graceful_shutdown()
        await self.server.stop(grace_seconds)
