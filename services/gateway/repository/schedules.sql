-- name: now
SELECT now() AS now

-- name: count_schedules
SELECT count(*) AS count FROM schedules

-- name: insert_schedule
INSERT INTO schedules (schedule_id, request_id, display_name, instruction, source, kinds, priority, delivers, cron, time_zone,
                       missed_policy, principal, ttl)
VALUES (%(schedule_id)s, %(request_id)s, %(display_name)s, %(instruction)s, %(source)s, %(kinds)s, %(priority)s,
        %(delivers)s, %(cron)s, %(time_zone)s, %(missed_policy)s, %(principal)s, %(ttl)s)
ON CONFLICT (tenant_id, request_id) DO NOTHING
RETURNING schedule_id

-- name: get_schedule_of_request
SELECT * FROM schedules WHERE request_id = %(request_id)s

-- name: get_schedule
SELECT * FROM schedules WHERE schedule_id = %(schedule_id)s

-- name: lock_schedule
SELECT * FROM schedules WHERE schedule_id = %(schedule_id)s FOR UPDATE

-- name: list_schedules
SELECT * FROM schedules
WHERE (created_at, schedule_id) < (%(before_time)s, %(before_id)s)
ORDER BY created_at DESC, schedule_id DESC
LIMIT %(limit)s

-- name: set_timer
UPDATE schedules SET timer_id = %(timer_id)s, next_fire_at = %(next_fire_at)s WHERE schedule_id = %(schedule_id)s

-- name: mark_fired
UPDATE schedules SET last_fire_at = %(time)s, last_task_id = %(task_id)s, last_failure = %(failure)s
WHERE schedule_id = %(schedule_id)s

-- name: pause_schedule
UPDATE schedules SET state = 'paused', timer_id = NULL, next_fire_at = NULL,
  last_failure = coalesce(%(failure)s, last_failure), revision = revision + 1, updated_at = now()
WHERE schedule_id = %(schedule_id)s

-- name: resume_schedule
UPDATE schedules SET state = 'active', principal = %(principal)s, last_failure = NULL, revision = revision + 1,
  updated_at = now()
WHERE schedule_id = %(schedule_id)s

-- name: delete_schedule
DELETE FROM schedules WHERE schedule_id = %(schedule_id)s

-- name: open_schedule
SELECT kernel.open_schedule(%(schedule_id)s)

-- name: close_schedule
SELECT kernel.close_schedule(%(schedule_id)s)

-- name: open_scheduled_task
SELECT kernel.open_scheduled_task(%(task_id)s)

-- name: principal_may
SELECT tenancy.principal_may(%(scope)s) AS may

-- name: record
SELECT tenancy.record(%(action)s, %(resource)s, %(details)s, %(outcome)s)
