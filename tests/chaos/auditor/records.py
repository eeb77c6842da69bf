"""What the tables say when everything is at rest, read beside the product by SQL of the auditor's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import LiteralString, TypeAlias

import psycopg
from psycopg.rows import dict_row

Row: TypeAlias = Mapping[str, object]

SERVICES = ("gateway", "orchestrator", "docs", "faqgen", "codegen", "tenancy")
WORKERS = ("docs", "faqgen", "codegen")
STATEMENT_SECONDS = 60


@dataclass(frozen=True)
class Records:
    """Rows as dictionaries; ids are text, times seconds since the epoch, `now` the moment of the reading."""

    now: float
    accepted: tuple[Row, ...]
    tasks: tuple[Row, ...]
    steps: tuple[Row, ...]
    events: tuple[Row, ...]
    outbox: tuple[Row, ...]
    inbox: tuple[Row, ...]
    leases: tuple[Row, ...]
    dead_letters: tuple[Row, ...]
    deliveries: tuple[Row, ...]
    endpoints: tuple[Row, ...]
    effects: tuple[Row, ...]
    versions: tuple[Row, ...]
    usage: tuple[Row, ...]
    reservations: tuple[Row, ...]
    approvals: tuple[Row, ...]
    decisions: tuple[Row, ...]
    changes: tuple[Row, ...]
    change_steps: tuple[Row, ...]
    patches: tuple[Row, ...]


def _of_each(services: tuple[str, ...], query: str) -> str:
    return " UNION ALL ".join(query.format(service=service) for service in services)


QUERIES: Mapping[str, str] = {
    "accepted": """
        SELECT tenant_id::text AS tenant, task_id::text AS task, request_id::text AS request, state,
               sequence FROM gateway.tasks""",
    "tasks": """
        SELECT tenant_id::text AS tenant, task_id::text AS task, state, sequence, branch FROM orchestrator.tasks""",
    "steps": """
        SELECT tenant_id::text AS tenant, task_id::text AS task, step, state, command_id::text AS command,
               result ->> 'commit' AS commit FROM orchestrator.steps""",
    "events": """
        SELECT tenant_id::text AS tenant, task_id::text AS task, sequence, event FROM gateway.task_events
        ORDER BY task_id, sequence""",
    "outbox": _of_each(
        SERVICES,
        """
        SELECT '{service}' AS service, tenant_id::text AS tenant, id::text AS id, task_id::text AS task,
               substring(type FROM '[^.]+$') AS type, subject, body, causation_id::text AS cause,
               work_id::text AS work, published_at IS NOT NULL AS published, created_at::text AS made,
               due_at < now() - interval '10 seconds' AS overdue, isfinite(due_at) AND due_at < '9999-01-01' AS timed
        FROM {service}.outbox""",
    ),
    "inbox": _of_each(
        SERVICES,
        "SELECT '{service}' AS service, tenant_id::text AS tenant, message_id::text AS id FROM {service}.inbox",
    ),
    "leases": _of_each(
        WORKERS,
        """
        SELECT '{service}' AS service, tenant_id::text AS tenant, work_id::text AS work, task_id::text AS task, state,
               attempt, expires_at < now() - interval '10 seconds' AS expired, updated_at::text AS changed,
               xmin::text AS transaction FROM {service}.leases""",
    ),
    "dead_letters": _of_each(
        SERVICES,
        """
        SELECT '{service}' AS service, tenant_id::text AS tenant, message_id::text AS id, type, reason, error
        FROM {service}.dead_letters""",
    ),
    "deliveries": """
        SELECT tenant_id::text AS tenant, endpoint_id::text AS endpoint, event_id::text AS event, state
        FROM gateway.webhook_deliveries""",
    "endpoints": "SELECT tenant_id::text AS tenant, endpoint_id::text AS endpoint FROM gateway.webhook_endpoints",
    "effects": """
        SELECT 'docs' AS service, 'document' AS kind, tenant_id::text AS tenant, task_id::text AS task,
               document_id::text AS id, v.xmin::text AS transaction
        FROM docs.documents LEFT JOIN docs.document_versions AS v USING (tenant_id, document_id)
        WHERE v.version IS NULL OR v.version = 1
        UNION ALL SELECT 'faqgen', 'answer', tenant_id::text, task_id::text, answer_id::text, xmin::text
        FROM faqgen.answers
        UNION ALL SELECT 'faqgen', 'faq', tenant_id::text, task_id::text, faq_id::text, xmin::text FROM faqgen.faqs
        UNION ALL SELECT 'codegen', 'change', tenant_id::text, task_id::text, change_id::text, xmin::text
        FROM codegen.changes""",
    "versions": "SELECT document_id::text AS document, count(*) AS count FROM docs.document_versions GROUP BY 1",
    "usage": "SELECT tenant_id::text AS tenant, calls, calls_in_full AS unknown FROM tenancy.usage",
    "reservations": "SELECT tenant_id::text AS tenant, state FROM tenancy.reservations",
    "approvals": """
        SELECT tenant_id::text AS tenant, task_id::text AS task, approval_id::text AS id, kind, state,
               content_hash AS hash, extract(epoch FROM decided_at)::float AS decided,
               settled_at IS NOT NULL AS settled FROM orchestrator.approvals""",
    "decisions": """
        SELECT tenant_id::text AS tenant, substring(resource FROM '^approvals/(.*)') AS approval, action
        FROM tenancy.audit_log WHERE action IN ('approvals.approve', 'approvals.reject') AND outcome = 'succeeded'""",
    "changes": """
        SELECT tenant_id::text AS tenant, task_id::text AS task, change_id::text AS id, state, attempts,
               encode(sha256(convert_to(patch, 'UTF8')), 'hex') AS hash FROM codegen.changes""",
    "change_steps": """
        SELECT tenant_id::text AS tenant, work_id::text AS work, step, attempt FROM codegen.steps""",
    "patches": """
        SELECT tenant_id::text AS tenant, task_id::text AS task, substring(change FROM '^changes/(.*)') AS change,
               patch_hash AS hash FROM docs.patches""",
}


def read_records(dsn: str) -> Records:
    """In one snapshot of the database. Raises psycopg.Error."""
    options = f"-c statement_timeout={STATEMENT_SECONDS}s -c default_transaction_read_only=on"
    with psycopg.connect(dsn, options=options, row_factory=dict_row) as connection:
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        moment = connection.execute("SELECT extract(epoch FROM now())::float AS now").fetchone()
        assert moment is not None
        rows = {name: tuple(connection.execute(_literal(query)).fetchall()) for name, query in QUERIES.items()}
    assert set(rows) == {field.name for field in fields(Records)} - {"now"}
    return Records(now=float(moment["now"]), **rows)


def _literal(query: str) -> LiteralString:
    return query  # type: ignore[return-value]  # all are written above
