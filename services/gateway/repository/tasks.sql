-- name: insert_task
INSERT INTO tasks (task_id, request_id, principal, instruction, source, kinds, priority, branch, base_commit, state,
                   trace_id, expires_at)
VALUES (%(task_id)s, %(request_id)s, %(principal)s, %(instruction)s, %(source)s, %(kinds)s, %(priority)s, %(branch)s,
        %(base_commit)s, 'queued', %(trace_id)s, now() + make_interval(secs => %(ttl_seconds)s))
ON CONFLICT (tenant_id, request_id) DO NOTHING
RETURNING *

-- name: count_active_tasks
SELECT count(*) AS used FROM tasks WHERE ended_at IS NULL

-- name: get_task_of_request
SELECT * FROM tasks WHERE request_id = %(request_id)s

-- name: get_task
SELECT * FROM tasks WHERE task_id = %(task_id)s

-- name: lock_task
SELECT *, EXISTS (SELECT FROM webhook_endpoints WHERE state = 'enabled') AS has_webhooks
FROM tasks WHERE task_id = %(task_id)s FOR UPDATE OF tasks

-- name: list_tasks
SELECT * FROM tasks
WHERE (created_at, task_id) < (%(before_time)s, %(before_id)s)
ORDER BY created_at DESC, task_id DESC
LIMIT %(limit)s

-- name: update_task
UPDATE tasks SET state = %(state)s, steps = %(steps)s, failure = %(failure)s, sequence = %(sequence)s,
  updated_at = %(updated_at)s, ended_at = %(ended_at)s
WHERE task_id = %(task_id)s

-- name: insert_events
-- And the task's events after the last that was applied: a statement does not see its own rows in the table. Those that
-- arrive early, after `last`, have no place in the feed yet.
WITH inserted AS (
  INSERT INTO task_events (task_id, sequence, trace_id, event, event_id, type, feed_position)
  SELECT %(task_id)s, sequence, trace_id, event, event_id, type,
    CASE WHEN sequence <= %(last)s THEN greatest(
      pg_current_xact_id()::text::bigint + (SELECT first_position FROM feed_life),
      (SELECT feed_position FROM task_events WHERE task_id = %(task_id)s AND sequence = %(after)s)) END
  FROM unnest(%(sequences)s::bigint[], %(trace_ids)s::text[], %(events)s::bytea[], %(event_ids)s::uuid[], %(types)s::text[])
    AS new (sequence, trace_id, event, event_id, type)
  ON CONFLICT DO NOTHING
  RETURNING sequence, event
)
SELECT sequence, event FROM (
  SELECT sequence, event FROM task_events WHERE task_id = %(task_id)s AND sequence > %(after)s
  UNION ALL
  SELECT sequence, event FROM inserted WHERE sequence > %(after)s
) AS kept
ORDER BY sequence LIMIT %(limit)s

-- name: place_events
-- Those that had waited for the one before them.
UPDATE task_events SET feed_position = greatest(
  pg_current_xact_id()::text::bigint + (SELECT first_position FROM feed_life),
  (SELECT feed_position FROM task_events WHERE task_id = %(task_id)s AND sequence = %(after)s))
WHERE task_id = %(task_id)s AND sequence > %(after)s AND sequence <= %(last)s AND feed_position IS NULL
  AND event_id IS NOT NULL

-- name: list_events
SELECT event FROM task_events WHERE task_id = %(task_id)s AND sequence > %(after)s ORDER BY sequence LIMIT %(limit)s

-- name: list_kept
-- Of a task or of a trace, task after task; an event may have been received before its forerunner.
SELECT began_at, task_id, sequence, event
FROM (
  SELECT task_id, sequence, event, min(received_at) OVER (PARTITION BY task_id) AS began_at
  FROM task_events WHERE task_id = %(task_id)s OR trace_id = %(trace_id)s
) AS found
WHERE (began_at, task_id, sequence) > (%(after_began_at)s, %(after_task_id)s, %(after_sequence)s)
ORDER BY began_at, task_id, sequence
LIMIT %(limit)s
