"""What must hold of every task at the end, asked of the database."""

from __future__ import annotations

from collections.abc import Collection

from tests.chaos.platform import ChaosPlatform

UNSOUND = {
    "has not exactly one end": """
        SELECT t.task_id::text FROM gateway.tasks AS t
        LEFT JOIN orchestrator.outbox AS o ON o.task_id = t.task_id
          AND o.type ~ 'Task(Succeeded|PartlySucceeded|Failed|Cancelled|Expired)$'
        GROUP BY t.task_id HAVING count(o.id) <> 1""",
    "ended otherwise for the gateway than for the orchestrator": """
        SELECT t.task_id::text FROM gateway.tasks AS t JOIN orchestrator.tasks AS o USING (tenant_id, task_id)
        WHERE t.state <> o.state""",
    "has a gap in its events": """
        SELECT task_id::text FROM gateway.task_events GROUP BY task_id
        HAVING min(sequence) <> 1 OR max(sequence) <> count(*)""",
    "has a document twice": "SELECT task_id::text FROM docs.documents GROUP BY task_id HAVING count(*) > 1",
    "has an answer twice": "SELECT task_id::text FROM faqgen.answers GROUP BY task_id HAVING count(*) > 1",
    "has an FAQ twice": "SELECT task_id::text FROM faqgen.faqs GROUP BY task_id HAVING count(*) > 1",
    "has a change twice": "SELECT task_id::text FROM codegen.changes GROUP BY task_id HAVING count(*) > 1",
    "left a dead letter": """
        SELECT message_id::text || ' ' || type || ': ' || error FROM gateway.dead_letters
        UNION ALL SELECT message_id::text || ' ' || type || ': ' || error FROM orchestrator.dead_letters
        UNION ALL SELECT message_id::text || ' ' || type || ': ' || error FROM docs.dead_letters
        UNION ALL SELECT message_id::text || ' ' || type || ': ' || error FROM faqgen.dead_letters
        UNION ALL SELECT message_id::text || ' ' || type || ': ' || error FROM codegen.dead_letters""",
}
KNOWN = "SELECT task_id::text FROM gateway.tasks"


def unsound(platform: ChaosPlatform, acknowledged: Collection[str]) -> list[str]:
    found = [f"{name} {what}" for what, query in UNSOUND.items() for (name,) in platform.rows(query)]
    known = {f"tasks/{name}" for (name,) in platform.rows(KNOWN)}
    return found + [f"{name} was acknowledged and is gone" for name in sorted(set(acknowledged) - known)]
