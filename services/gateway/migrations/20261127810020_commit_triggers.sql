-- migrate:up

ALTER TABLE tasks ADD COLUMN base_commit text NOT NULL DEFAULT '';
COMMENT ON COLUMN tasks.base_commit IS 'the commit that the task works at; empty for the newest of its source';

-- A schedule has a cron expression, or looks at a branch of its source so often. Of the branch: the commit that is settled
-- (it fired, or was there first), a newer one that is still to fire, and the question to docs that is not answered yet.
ALTER TABLE schedules
  ALTER COLUMN cron DROP NOT NULL,
  ALTER COLUMN time_zone DROP NOT NULL,
  ADD COLUMN branch text,
  ADD COLUMN poll_seconds integer CHECK (poll_seconds BETWEEN 60 AND 86400),
  ADD COLUMN settled_commit text NOT NULL DEFAULT '',
  ADD COLUMN found_commit text NOT NULL DEFAULT '',
  ADD COLUMN waiting_commit text NOT NULL DEFAULT '',
  ADD COLUMN check_id uuid,
  ADD COLUMN asked_at timestamptz,
  ADD COLUMN checked_at timestamptz,
  ADD COLUMN failed_checks integer NOT NULL DEFAULT 0,
  ADD COLUMN check_failure jsonb,
  ADD CONSTRAINT schedules_trigger_check CHECK (num_nonnulls(cron, time_zone) = 2 AND num_nonnulls(branch, poll_seconds) = 0
    OR num_nonnulls(cron, time_zone) = 0 AND num_nonnulls(branch, poll_seconds) = 2);

-- migrate:down
SELECT 1 / 0;  -- forward only
