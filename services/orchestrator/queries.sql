-- name: insert_task
-- It is running where a slot seems free: its commit says whether it was (place_task, confirm_slot).
INSERT INTO tasks (task_id, instruction, source, kinds, priority, branch, base_commit, state, graph_version,
                   traceparent)
VALUES (%(task_id)s, %(instruction)s, %(source)s, %(kinds)s, %(priority)s, %(branch)s, %(base_commit)s, 'queued',
        %(graph_version)s, %(traceparent)s)
ON CONFLICT DO NOTHING
RETURNING *

-- name: set_start
UPDATE tasks SET start_id = %(start_id)s WHERE task_id = %(task_id)s

-- name: set_expiry
UPDATE tasks SET expiry_id = %(expiry_id)s WHERE task_id = %(task_id)s

-- name: start_task
UPDATE tasks SET state = 'running' WHERE task_id = %(task_id)s

-- name: get_queue_place
-- The pace is that of the last tasks that waited, in ten minutes: those that found a free slot say nothing of the queue.
SELECT ahead.count + 1 AS position, now() + (ahead.count + 1) * pace.seconds * interval '1 second' AS estimated_start
FROM tasks AS own,
  LATERAL (
    SELECT count(*) FROM tasks AS other
    WHERE other.state = 'queued' AND (-other.priority, other.created_at, other.task_id)
      < (-own.priority, own.created_at, own.task_id)
  ) AS ahead,
  (
    SELECT extract(epoch FROM max(admitted_at) - min(admitted_at)) / nullif(count(*) - 1, 0) AS seconds
    FROM (
      SELECT admitted_at FROM tasks WHERE start_id IS NOT NULL AND admitted_at > now() - interval '10 minutes'
      ORDER BY admitted_at DESC LIMIT 20
    ) AS latest
  ) AS pace
WHERE own.task_id = %(task_id)s AND own.state = 'queued'

-- name: set_concurrency
SELECT set_concurrency(%(concurrency)s)

-- name: admit
SELECT admit() AS admitted

-- name: lock_task
SELECT * FROM tasks WHERE task_id = %(task_id)s FOR UPDATE

-- name: set_task_state
UPDATE tasks SET state = %(state)s WHERE task_id = %(task_id)s

-- name: next_sequence
UPDATE tasks SET sequence = sequence + 1 WHERE task_id = %(task_id)s RETURNING sequence, now() AS time

-- name: end_task
-- With the number of the event that says so, and without its timer.
WITH ended AS (
  UPDATE tasks SET state = %(state)s, ended_at = now(), sequence = sequence + 1 WHERE task_id = %(task_id)s
  RETURNING expiry_id, sequence, ended_at
), withdrawn AS (
  UPDATE outbox SET published_at = now() WHERE id = (SELECT expiry_id FROM ended) AND published_at IS NULL
)
SELECT ended.sequence, ended.ended_at AS time, kernel.close_task(%(task_id)s) FROM ended

-- name: principal_may
SELECT tenancy.principal_may(%(scope)s) AS may

-- name: insert_steps
-- With the last number of the events that say so.
WITH inserted AS (
  INSERT INTO steps (task_id, step, wave, service, state, command_id, timer_id, deadline)
  SELECT %(task_id)s, step, wave, service, 'running', command_id, timer_id,
         now() + make_interval(secs => %(deadline_seconds)s)
  FROM unnest(%(steps)s::text[], %(waves)s::text[], %(services)s::text[], %(command_ids)s::uuid[], %(timer_ids)s::uuid[])
    AS new (step, wave, service, command_id, timer_id)
  RETURNING *
), numbered AS (
  UPDATE tasks SET sequence = sequence + cardinality(%(steps)s::text[]) WHERE task_id = %(task_id)s RETURNING sequence
)
SELECT inserted.*, numbered.sequence FROM inserted, numbered

-- name: restart_step
WITH restarted AS (
  UPDATE steps SET state = 'running', command_id = %(command_id)s, timer_id = %(timer_id)s, result = '{}',
    started_at = now(), ended_at = NULL, deadline = now() + make_interval(secs => %(deadline_seconds)s)
  WHERE task_id = %(task_id)s AND step = %(step)s
  RETURNING *
), numbered AS (
  UPDATE tasks SET sequence = sequence + 1 WHERE task_id = %(task_id)s RETURNING sequence
)
SELECT restarted.*, numbered.sequence FROM restarted, numbered

-- name: lock_task_of_command
SELECT *, now() AS now FROM tasks
WHERE task_id = (SELECT task_id FROM steps WHERE command_id = %(command_id)s) FOR UPDATE

-- name: end_step
-- With the number of the event that says so, and without its timer.
WITH ended AS (
  UPDATE steps SET state = %(state)s, result = %(result)s, ended_at = now()
  WHERE task_id = %(task_id)s AND step = %(step)s AND state = 'running'
  RETURNING *
), numbered AS (
  UPDATE tasks SET sequence = sequence + 1 WHERE task_id = (SELECT task_id FROM ended) RETURNING sequence
), withdrawn AS (
  UPDATE outbox SET published_at = now() WHERE id = (SELECT timer_id FROM ended) AND published_at IS NULL
)
SELECT ended.*, numbered.sequence FROM ended, numbered

-- name: set_timer
UPDATE steps SET timer_id = %(timer_id)s WHERE task_id = %(task_id)s AND step = %(step)s

-- name: list_steps
SELECT * FROM steps WHERE task_id = %(task_id)s ORDER BY started_at, step

-- name: approval_policy
SELECT p.* FROM tenancy.approval_policy() AS p

-- name: task_spending
SELECT s.tokens, s.money FROM tenancy.task_spending(%(task_id)s) AS s

-- name: may_now
SELECT tenancy.may_now(%(who)s, %(scope)s) AS may

-- name: stand_behind_the_same
SELECT tenancy.stands_behind(%(one)s) = tenancy.stands_behind(%(other)s) AS same

-- name: lift_task_limit
SELECT tenancy.lift_task_limit()

-- name: record
SELECT tenancy.record(%(action)s, %(resource)s, %(details)s, %(outcome)s)

-- name: new_approval_id
SELECT uuidv7() AS approval_id

-- name: insert_approval
INSERT INTO approvals (approval_id, task_id, kind, requester, resource, version, content_hash, summary, why, timer_id,
                       expires_at)
VALUES (%(approval_id)s, %(task_id)s, %(kind)s, %(requester)s, %(resource)s, %(version)s, %(content_hash)s,
        %(summary)s, %(why)s, %(timer_id)s, now() + make_interval(secs => %(lifetime_seconds)s))
RETURNING *

-- name: find_task_of_approval
SELECT task_id FROM approvals WHERE approval_id = %(approval_id)s

-- name: get_approval
SELECT *, now() AS now FROM approvals WHERE approval_id = %(approval_id)s

-- name: get_open_approval
SELECT * FROM approvals WHERE task_id = %(task_id)s AND settled_at IS NULL

-- name: list_approvals
SELECT * FROM approvals
WHERE (%(before)s::uuid IS NULL OR approval_id < %(before)s)
  AND (%(task_id)s::uuid IS NULL OR task_id = %(task_id)s)
  AND (%(state)s::text IS NULL OR state = %(state)s)
ORDER BY approval_id DESC
LIMIT %(limit)s

-- name: decide_approval
UPDATE approvals SET state = %(state)s, decider = %(decider)s, reason = %(reason)s, decided_at = now(),
  revision = revision + 1
WHERE approval_id = %(approval_id)s
RETURNING *

-- name: delegate_approval
UPDATE approvals SET assignee = %(assignee)s, revision = revision + 1 WHERE approval_id = %(approval_id)s RETURNING *

-- name: settle_approval
UPDATE approvals SET state = %(state)s, settled_at = now(), revision = revision + 1
WHERE approval_id = %(approval_id)s
RETURNING *

-- name: wait_again
UPDATE approvals SET state = 'pending', decider = '', reason = '', decided_at = NULL, timer_id = %(timer_id)s,
  revision = revision + 1
WHERE approval_id = %(approval_id)s
RETURNING *
