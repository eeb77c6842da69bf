"""When the platform has come to rest, and how long after each kill its task moved again: read from the database."""

from __future__ import annotations

import time

import psycopg

from tests.chaos.platform import ChaosPlatform
from tests.e2e.platform import SERVICES

AGAIN_SECONDS = 0.5
OPEN = {
    "tasks that have not ended": """
        SELECT count(*) FROM gateway.tasks WHERE state IN ('queued', 'running', 'waiting_for_approval')""",
    "tasks that the orchestrator runs": "SELECT count(*) FROM orchestrator.tasks WHERE state = 'running'",
    "deliveries of webhooks": "SELECT count(*) FROM gateway.webhook_deliveries WHERE state = 'pending'",
    **{
        f"messages of {service} to publish": f"""
        SELECT count(*) FROM {service}.outbox WHERE published_at IS NULL"""
        for service in SERVICES
    },
    **{
        f"leases of {service}": f"SELECT count(*) FROM {service}.leases WHERE state = 'running'" for service in SERVICES
    },
}
MOVED = " UNION ALL ".join(
    f"""
    SELECT moment FROM {service}.outbox, LATERAL (VALUES (created_at), (published_at)) AS times (moment)
    WHERE task_id = %(task)s AND moment > to_timestamp(%(time)s)"""
    for service in SERVICES
)
FIRST_MOVE = f"""
SELECT extract(epoch FROM min(moment))::float - %(time)s FROM ({MOVED}
  UNION ALL
  SELECT d.ended_at FROM gateway.webhook_deliveries AS d
  JOIN orchestrator.outbox AS o ON o.id = d.event_id
  WHERE o.task_id = %(task)s AND d.ended_at > to_timestamp(%(time)s)
) AS moves (moment)
"""


def wait_for_rest(platform: ChaosPlatform, *, seconds: float) -> dict[str, int]:
    """What is still open when the time is over."""
    give_up = time.monotonic() + seconds
    while (left := what_is_open(platform)) and time.monotonic() < give_up:
        time.sleep(AGAIN_SECONDS)
    return left


def what_is_open(platform: ChaosPlatform) -> dict[str, int]:
    with psycopg.connect(platform.dsn, autocommit=True) as connection:
        counts = {name: connection.execute(query).fetchone() for name, query in OPEN.items()}
    return {name: row[0] for name, row in counts.items() if row and row[0]}


def seconds_until_moved(connection: psycopg.Connection[tuple[object, ...]], task: str, moment: float) -> float | None:
    """None when nothing was left to do for the task."""
    row = connection.execute(FIRST_MOVE, {"task": task, "time": moment}).fetchone()  # type: ignore[arg-type]
    return None if row is None or row[0] is None else float(str(row[0]))
