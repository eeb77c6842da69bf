-- name: now
SELECT now() AS now

-- name: count_schedules
SELECT count(*) AS count FROM schedules

-- name: insert_schedule
INSERT INTO schedules (schedule_id, request_id, display_name, instruction, source, kinds, priority, delivers, cron, time_zone,
                       branch, poll_seconds, missed_policy, overlap_policy, principal, ttl)
VALUES (%(schedule_id)s, %(request_id)s, %(display_name)s, %(instruction)s, %(source)s, %(kinds)s, %(priority)s,
        %(delivers)s, %(cron)s, %(time_zone)s, %(branch)s, %(poll_seconds)s, %(missed_policy)s, %(overlap_policy)s,
        %(principal)s, %(ttl)s)
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
UPDATE schedules SET last_fire_at = %(time)s, last_task_id = %(task_id)s, last_failure = %(failure)s,
  newest_task_id = coalesce(%(task_id)s, newest_task_id)
WHERE schedule_id = %(schedule_id)s

-- name: lock_newest_task
SELECT ended_at FROM tasks WHERE task_id = %(task_id)s FOR SHARE

-- name: set_waiting
UPDATE schedules SET waiting_id = %(waiting_id)s, waiting_since = %(waiting_since)s, waiting_commit = %(waiting_commit)s
WHERE schedule_id = %(schedule_id)s

-- name: list_waiting
SELECT waiting_id FROM schedules WHERE newest_task_id = %(task_id)s AND waiting_id IS NOT NULL

-- name: mark_skipped
UPDATE schedules SET skipped_count = skipped_count + 1, last_skip_at = %(time)s, last_skip = %(why)s
WHERE schedule_id = %(schedule_id)s

-- name: set_check
UPDATE schedules SET check_id = %(check_id)s, asked_at = now() WHERE schedule_id = %(schedule_id)s

-- name: settle_check
-- What was there when the branch was looked at first fires nothing. The answer to an earlier question, or a second one to
-- this, finds no row.
UPDATE schedules SET check_id = NULL, checked_at = now(), failed_checks = 0, check_failure = NULL,
  found_commit = CASE WHEN settled_commit IN ('', %(commit)s) THEN '' ELSE %(commit)s END,
  settled_commit = CASE WHEN settled_commit = '' THEN %(commit)s ELSE settled_commit END
WHERE schedule_id = %(schedule_id)s AND check_id = %(check_id)s
RETURNING timer_id, found_commit <> '' AS hastens

-- name: fail_check
UPDATE schedules SET check_id = NULL, checked_at = now(), failed_checks = failed_checks + 1, check_failure = %(failure)s
WHERE schedule_id = %(schedule_id)s AND check_id = %(check_id)s
RETURNING timer_id, %(hastens)s AS hastens

-- name: settle_commit
UPDATE schedules SET settled_commit = found_commit, found_commit = '' WHERE schedule_id = %(schedule_id)s

-- name: pause_schedule
UPDATE schedules SET state = 'paused', timer_id = NULL, next_fire_at = NULL, waiting_id = NULL, waiting_since = NULL,
  waiting_commit = '', found_commit = '', check_id = NULL,
  last_failure = coalesce(%(failure)s, last_failure), revision = revision + 1, updated_at = now()
WHERE schedule_id = %(schedule_id)s

-- name: resume_schedule
UPDATE schedules SET state = 'active', principal = %(principal)s, last_failure = NULL, failed_checks = 0, check_failure = NULL,
  settled_commit = CASE WHEN missed_policy = 'catch_up' THEN settled_commit ELSE '' END,
  revision = revision + 1, updated_at = now()
WHERE schedule_id = %(schedule_id)s

-- name: delete_schedule
DELETE FROM schedules WHERE schedule_id = %(schedule_id)s

-- name: open_schedule
SELECT kernel.open_schedule(%(schedule_id)s)

-- name: close_schedule
SELECT kernel.close_schedule(%(schedule_id)s)

-- name: open_scheduled_task
SELECT kernel.open_scheduled_task(%(task_id)s) AS is_open

-- name: principal_may
SELECT tenancy.principal_may(%(scope)s) AS may

-- name: record
SELECT tenancy.record(%(action)s, %(resource)s, %(details)s, %(outcome)s)
