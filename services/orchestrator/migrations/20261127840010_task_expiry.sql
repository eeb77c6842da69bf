-- migrate:up

ALTER TABLE tasks ADD COLUMN expiry_id uuid;
COMMENT ON COLUMN tasks.expiry_id IS 'the timer that ends the task; null for a task that may take any time';

-- migrate:down
SELECT 1 / 0;  -- forward only
