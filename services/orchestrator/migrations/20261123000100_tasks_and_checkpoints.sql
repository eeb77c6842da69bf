-- migrate:up

CREATE TABLE tasks (
  tenant_id uuid NOT NULL DEFAULT kernel.tenant_id(),
  task_id uuid NOT NULL,
  instruction text NOT NULL,
  source text NOT NULL,
  kinds text[] NOT NULL,
  state text NOT NULL CHECK (state IN
    ('running', 'waiting_for_approval', 'succeeded', 'partly_succeeded', 'failed', 'cancelled', 'expired')),
  graph_version integer NOT NULL,
  traceparent text NOT NULL,
  sequence bigint NOT NULL DEFAULT 0,
  created_at timestamptz NOT NULL DEFAULT now(),
  ended_at timestamptz,
  PRIMARY KEY (tenant_id, task_id)
);

-- A step waits for the reply to its command; wave by wave, the graph resumes once when none is left running.
CREATE TABLE steps (
  tenant_id uuid NOT NULL DEFAULT kernel.tenant_id(),
  task_id uuid NOT NULL,
  step text NOT NULL,
  wave text NOT NULL,
  service text NOT NULL,
  state text NOT NULL CHECK (state IN ('running', 'succeeded', 'failed', 'cancelled')),
  command_id uuid NOT NULL,
  timer_id uuid NOT NULL,
  result jsonb NOT NULL DEFAULT '{}',
  started_at timestamptz NOT NULL DEFAULT now(),
  deadline timestamptz NOT NULL,
  ended_at timestamptz,
  PRIMARY KEY (tenant_id, task_id, step),
  FOREIGN KEY (tenant_id, task_id) REFERENCES tasks (tenant_id, task_id)
);
CREATE UNIQUE INDEX steps_by_command ON steps (tenant_id, command_id);

-- LangGraph's tables (langgraph-checkpoint-postgres 3.2) with the tenant in every key.
CREATE TABLE checkpoints (
  tenant_id uuid NOT NULL DEFAULT kernel.tenant_id(),
  thread_id text NOT NULL,
  checkpoint_ns text NOT NULL DEFAULT '',
  checkpoint_id text NOT NULL,
  parent_checkpoint_id text,
  type text,
  checkpoint jsonb NOT NULL,
  metadata jsonb NOT NULL DEFAULT '{}',
  PRIMARY KEY (tenant_id, thread_id, checkpoint_ns, checkpoint_id)
);
CREATE TABLE checkpoint_blobs (
  tenant_id uuid NOT NULL DEFAULT kernel.tenant_id(),
  thread_id text NOT NULL,
  checkpoint_ns text NOT NULL DEFAULT '',
  channel text NOT NULL,
  version text NOT NULL,
  type text NOT NULL,
  blob bytea,
  PRIMARY KEY (tenant_id, thread_id, checkpoint_ns, channel, version)
);
CREATE TABLE checkpoint_writes (
  tenant_id uuid NOT NULL DEFAULT kernel.tenant_id(),
  thread_id text NOT NULL,
  checkpoint_ns text NOT NULL DEFAULT '',
  checkpoint_id text NOT NULL,
  task_id text NOT NULL,
  task_path text NOT NULL DEFAULT '',
  idx integer NOT NULL,
  channel text NOT NULL,
  type text,
  blob bytea NOT NULL,
  PRIMARY KEY (tenant_id, thread_id, checkpoint_ns, checkpoint_id, task_id, idx)
);

DO $$
DECLARE name text;
BEGIN
  FOREACH name IN ARRAY ARRAY['tasks', 'steps', 'checkpoints', 'checkpoint_blobs', 'checkpoint_writes'] LOOP
    EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
    EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
    EXECUTE format('CREATE POLICY tenant ON %I TO orchestrator_app USING (tenant_id = (SELECT kernel.tenant_id())) '
                   'WITH CHECK (tenant_id = (SELECT kernel.tenant_id()))', name);
    EXECUTE format('GRANT SELECT, INSERT, UPDATE ON %I TO orchestrator_app', name);
  END LOOP;
END $$;

-- migrate:down
SELECT 1 / 0;  -- forward only
