-- migrate:up

-- The read model: what clients see of a task, kept by applying its events in order.
CREATE TABLE tasks (
  tenant_id uuid NOT NULL DEFAULT kernel.tenant_id(),
  task_id uuid NOT NULL,
  request_id uuid NOT NULL,
  principal text NOT NULL,
  instruction text NOT NULL,
  source text NOT NULL,
  kinds text[] NOT NULL,
  state text NOT NULL,
  steps jsonb NOT NULL DEFAULT '[]',
  failure jsonb,
  trace_id text NOT NULL,
  sequence bigint NOT NULL DEFAULT 0,
  created_at timestamptz NOT NULL DEFAULT now(),
  updated_at timestamptz NOT NULL DEFAULT now(),
  ended_at timestamptz,
  PRIMARY KEY (tenant_id, task_id),
  UNIQUE (tenant_id, request_id)
);
CREATE INDEX tasks_newest ON tasks (tenant_id, created_at DESC, task_id);

-- The feed: every event of every task, from which watching resumes.
CREATE TABLE task_events (
  tenant_id uuid NOT NULL DEFAULT kernel.tenant_id(),
  task_id uuid NOT NULL,
  sequence bigint NOT NULL,
  trace_id text NOT NULL,
  event bytea NOT NULL,
  received_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant_id, task_id, sequence)
);
CREATE INDEX task_events_by_trace ON task_events (tenant_id, trace_id);

ALTER TABLE tasks ENABLE ROW LEVEL SECURITY;
ALTER TABLE tasks FORCE ROW LEVEL SECURITY;
ALTER TABLE task_events ENABLE ROW LEVEL SECURITY;
ALTER TABLE task_events FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON tasks TO gateway_app
  USING (tenant_id = (SELECT kernel.tenant_id())) WITH CHECK (tenant_id = (SELECT kernel.tenant_id()));
CREATE POLICY tenant ON task_events TO gateway_app
  USING (tenant_id = (SELECT kernel.tenant_id())) WITH CHECK (tenant_id = (SELECT kernel.tenant_id()));
GRANT SELECT, INSERT, UPDATE ON tasks TO gateway_app;
GRANT SELECT, INSERT ON task_events TO gateway_app;

-- migrate:down
SELECT 1 / 0;  -- forward only
