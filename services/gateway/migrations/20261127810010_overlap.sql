-- migrate:up

-- What becomes of a firing while the task before it has not ended. The one that waits is a held message of the gateway to
-- itself, which the end of that task makes due.
ALTER TABLE schedules
  ADD COLUMN overlap_policy text NOT NULL DEFAULT 'allow' CHECK (overlap_policy IN ('allow', 'skip', 'queue')),
  ADD COLUMN newest_task_id uuid,
  ADD COLUMN waiting_id uuid,
  ADD COLUMN waiting_since timestamptz,
  ADD COLUMN skipped_count bigint NOT NULL DEFAULT 0,
  ADD COLUMN last_skip_at timestamptz,
  ADD COLUMN last_skip jsonb;
UPDATE schedules SET newest_task_id = last_task_id;
ALTER TABLE schedules ALTER COLUMN overlap_policy DROP DEFAULT;
CREATE INDEX schedules_waiting ON schedules (tenant_id, newest_task_id) WHERE waiting_id IS NOT NULL;

-- migrate:down
SELECT 1 / 0;  -- forward only
