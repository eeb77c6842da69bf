-- migrate:up

ALTER TABLE tasks ADD COLUMN branch text NOT NULL DEFAULT '';
COMMENT ON COLUMN tasks.branch IS 'where a verified change is pushed; empty for nowhere';

-- migrate:down
SELECT 1 / 0;  -- forward only
