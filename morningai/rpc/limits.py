"""What one connection, one call and one tenant may take of a server."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from morningai.errors import RateLimited
from morningai.rpc.call import Call

ChannelOptions = tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Limits:
    """None where there is none. Within `grace_seconds` calls of a connection that is too old may end."""

    request_bytes: int = 4 * 1024 * 1024
    response_bytes: int | None = None
    metadata_bytes: int | None = None
    streams_per_connection: int | None = None
    concurrent_calls: int | None = None
    calls_per_tenant: int | None = None
    watches_per_tenant: int | None = None
    shortest_ping_seconds: float | None = None
    connection_age_seconds: float | None = None
    grace_seconds: float | None = None
    connection_idle_seconds: float | None = None
    keepalive_seconds: float | None = None

    def options(self) -> ChannelOptions:
        """As gRPC takes them."""
        return (
            ("grpc.max_receive_message_length", self.request_bytes),
            *_option("grpc.max_send_message_length", self.response_bytes),
            # Between the two gRPC refuses at random.
            *_option("grpc.max_metadata_size", self.metadata_bytes),
            *_option("grpc.absolute_max_metadata_size", self.metadata_bytes),
            *_option("grpc.max_concurrent_streams", self.streams_per_connection),
            *_milliseconds("grpc.http2.min_ping_interval_without_data_ms", self.shortest_ping_seconds),
            *_milliseconds("grpc.max_connection_age_ms", self.connection_age_seconds),
            *_milliseconds("grpc.max_connection_age_grace_ms", self.grace_seconds),
            *_milliseconds("grpc.max_connection_idle_ms", self.connection_idle_seconds),
            *_milliseconds("grpc.keepalive_time_ms", self.keepalive_seconds),
            # A client may ask whether the server is still there while it has no call.
            ("grpc.keepalive_permit_without_calls", 1),
        )


class TenantCalls:
    """Counts the calls and the watches that each tenant has open in this process."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._calls: Counter[str] = Counter()
        self._watches: Counter[str] = Counter()

    @contextmanager
    def hold(self, call: Call) -> Iterator[None]:
        """While the call lasts. Raises RateLimited."""
        if call.rule.streaming:
            open_ones, most, kind = self._watches, self._limits.watches_per_tenant, "watches"
        else:
            open_ones, most, kind = self._calls, self._limits.calls_per_tenant, "calls"
        if most is not None and open_ones[call.tenant] >= most:
            raise RateLimited(
                f"{kind}_per_tenant",
                f"Your tenant has {most} {kind} open, the most at a time.",
                remedy=f"End one of the {kind} first.",
            )
        open_ones[call.tenant] += 1
        try:
            yield
        finally:
            open_ones[call.tenant] -= 1
            if not open_ones[call.tenant]:
                del open_ones[call.tenant]


def _option(name: str, value: int | None) -> ChannelOptions:
    return () if value is None else ((name, value),)


def _milliseconds(name: str, seconds: float | None) -> ChannelOptions:
    return () if seconds is None else ((name, round(seconds * 1000)),)
