"""Following the events of a tenant: once each and in order, through connections that break."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import grpc

from morningai.api.subscriptions.v1 import subscriptions_pb2 as api
from morningai.cli.following import Patience, failures_after
from morningai.cli.gateway import Gateway


def follow_events(
    gateway: Gateway,
    request: api.WatchEventsRequest,
    *,
    patience: Patience | None = None,
    on_lost: Callable[[int], None] = lambda failures: None,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[api.WatchEventsResponse]:
    """Every response, also those without an event; ends with the task if the request names one."""
    patience, failures = patience or Patience(), 0
    wanted = api.WatchEventsRequest()
    wanted.CopyFrom(request)
    while True:
        try:
            for response in gateway.watch_events(wanted):
                failures = 0
                wanted.after_token, wanted.from_oldest = response.token, False
                yield response
            if wanted.task:
                return
            failures += 1
        except grpc.RpcError as error:
            failures = failures_after(error, failures, patience)
            if failures:
                on_lost(failures)
        sleep(patience.delay_seconds(failures) if failures else 0.0)
