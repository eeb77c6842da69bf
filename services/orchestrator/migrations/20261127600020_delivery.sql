-- migrate:up

ALTER TABLE tasks ADD COLUMN branch text NOT NULL DEFAULT '';
COMMENT ON COLUMN tasks.branch IS 'where a verified change is pushed; empty for nowhere';

ALTER TABLE approvals DROP CONSTRAINT approvals_kind_check,
  ADD CONSTRAINT approvals_kind_check CHECK (kind IN ('publishing', 'spending', 'delivery'));

-- migrate:down
SELECT 1 / 0;  -- forward only
