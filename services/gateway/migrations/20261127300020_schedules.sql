-- migrate:up

-- Tasks that come by themselves. The timer is the message to the gateway itself that fires next; any other is stale.
CREATE TABLE schedules (
  tenant_id uuid NOT NULL DEFAULT kernel.tenant_id(),
  schedule_id uuid NOT NULL,
  request_id uuid NOT NULL,
  display_name text NOT NULL,
  instruction text NOT NULL,
  source text NOT NULL,
  kinds text[] NOT NULL,
  priority text NOT NULL,
  delivers boolean NOT NULL,
  cron text NOT NULL,
  time_zone text NOT NULL,
  missed_policy text NOT NULL CHECK (missed_policy IN ('skip', 'catch_up')),
  state text NOT NULL DEFAULT 'active' CHECK (state IN ('active', 'paused')),
  principal text NOT NULL,
  timer_id uuid,
  next_fire_at timestamptz,
  last_fire_at timestamptz,
  last_task_id uuid,
  last_failure jsonb,
  revision integer NOT NULL DEFAULT 1,
  created_at timestamptz NOT NULL DEFAULT now(),
  updated_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant_id, schedule_id),
  UNIQUE (tenant_id, request_id)
);
CREATE INDEX schedules_newest ON schedules (tenant_id, created_at DESC, schedule_id DESC);

ALTER TABLE schedules ENABLE ROW LEVEL SECURITY;
ALTER TABLE schedules FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON schedules TO gateway_app
  USING (tenant_id = (SELECT kernel.tenant_id())) WITH CHECK (tenant_id = (SELECT kernel.tenant_id()));
GRANT SELECT, INSERT, UPDATE, DELETE ON schedules TO gateway_app;

-- migrate:down
SELECT 1 / 0;  -- forward only
