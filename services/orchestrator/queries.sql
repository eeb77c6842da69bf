-- name: insert_task
INSERT INTO tasks (task_id, instruction, source, kinds, state, graph_version, traceparent)
VALUES (%(task_id)s, %(instruction)s, %(source)s, %(kinds)s, 'running', %(graph_version)s, %(traceparent)s)

-- name: lock_task
SELECT * FROM tasks WHERE task_id = %(task_id)s FOR UPDATE

-- name: next_sequence
UPDATE tasks SET sequence = sequence + 1 WHERE task_id = %(task_id)s RETURNING sequence, now() AS time

-- name: end_task
UPDATE tasks SET state = %(state)s, ended_at = now() WHERE task_id = %(task_id)s

-- name: principal_may
SELECT tenancy.principal_may(%(scope)s) AS may

-- name: close_task
SELECT kernel.close_task(%(task_id)s)

-- name: insert_step
INSERT INTO steps (task_id, step, wave, service, state, command_id, timer_id, deadline)
VALUES (%(task_id)s, %(step)s, %(wave)s, %(service)s, 'running', %(command_id)s, %(timer_id)s,
        now() + make_interval(secs => %(deadline_seconds)s))
RETURNING *

-- name: lock_task_of_command
SELECT * FROM tasks WHERE task_id = (SELECT task_id FROM steps WHERE command_id = %(command_id)s) FOR UPDATE

-- name: get_step_of_command
SELECT *, now() AS now FROM steps WHERE command_id = %(command_id)s

-- name: end_step
UPDATE steps SET state = %(state)s, result = %(result)s, ended_at = now()
WHERE task_id = %(task_id)s AND step = %(step)s AND state = 'running'
RETURNING *

-- name: set_timer
UPDATE steps SET timer_id = %(timer_id)s WHERE task_id = %(task_id)s AND step = %(step)s

-- name: list_steps
SELECT * FROM steps WHERE task_id = %(task_id)s ORDER BY started_at, step
