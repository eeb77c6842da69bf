-- migrate:up

CREATE INDEX tasks_active ON tasks (tenant_id) WHERE ended_at IS NULL;

-- migrate:down
SELECT 1 / 0;  -- forward only
