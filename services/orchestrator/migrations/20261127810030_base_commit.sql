-- migrate:up

ALTER TABLE tasks ADD COLUMN base_commit text NOT NULL DEFAULT '';
COMMENT ON COLUMN tasks.base_commit IS 'the commit that the task works at; empty for the newest of its source';

-- migrate:down
SELECT 1 / 0;  -- forward only
