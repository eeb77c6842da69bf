-- migrate:up

ALTER TABLE tasks ADD COLUMN priority text NOT NULL DEFAULT 'normal' CHECK (priority IN ('normal', 'low', 'high'));

-- migrate:down
SELECT 1 / 0;  -- forward only
