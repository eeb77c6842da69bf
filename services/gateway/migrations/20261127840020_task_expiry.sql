-- migrate:up

ALTER TABLE tasks ADD COLUMN expires_at timestamptz;
COMMENT ON COLUMN tasks.expires_at IS 'when it ends if it has not by then; null for never';
ALTER TABLE schedules ADD COLUMN ttl interval;
COMMENT ON COLUMN schedules.ttl IS 'how long each of its tasks may take; null for any time';

-- migrate:down
SELECT 1 / 0;  -- forward only
