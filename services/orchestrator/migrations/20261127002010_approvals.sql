-- migrate:up

-- What a person is asked; a task waits for one request at a time. `resource`, `version` and `content_hash` are exactly what takes
-- effect. The timer is a message to the orchestrator itself: due when the request expires, or at once when it is decided.
CREATE TABLE approvals (
  tenant_id uuid NOT NULL DEFAULT kernel.tenant_id(),
  approval_id uuid NOT NULL DEFAULT uuidv7(),
  task_id uuid NOT NULL,
  kind text NOT NULL CHECK (kind IN ('publishing', 'spending')),
  state text NOT NULL DEFAULT 'pending'
    CHECK (state IN ('pending', 'approved', 'rejected', 'expired', 'withdrawn')),
  requester text NOT NULL,
  resource text NOT NULL,
  version integer NOT NULL,
  content_hash text NOT NULL,
  summary text NOT NULL,
  why text NOT NULL,
  assignee text NOT NULL DEFAULT '',
  decider text NOT NULL DEFAULT '',
  reason text NOT NULL DEFAULT '',
  timer_id uuid NOT NULL,
  revision integer NOT NULL DEFAULT 1,
  created_at timestamptz NOT NULL DEFAULT now(),
  expires_at timestamptz NOT NULL,
  decided_at timestamptz,
  settled_at timestamptz,
  PRIMARY KEY (tenant_id, approval_id),
  FOREIGN KEY (tenant_id, task_id) REFERENCES tasks (tenant_id, task_id)
);
COMMENT ON COLUMN approvals.settled_at IS 'when the decision took effect: the task went on, or ended';
CREATE UNIQUE INDEX approvals_open ON approvals (tenant_id, task_id) WHERE settled_at IS NULL;
CREATE INDEX approvals_of_task ON approvals (tenant_id, task_id);
CREATE INDEX approvals_pending ON approvals (tenant_id, approval_id) WHERE state = 'pending';

ALTER TABLE approvals ENABLE ROW LEVEL SECURITY;
ALTER TABLE approvals FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON approvals TO orchestrator_app
  USING (tenant_id = (SELECT kernel.tenant_id())) WITH CHECK (tenant_id = (SELECT kernel.tenant_id()));
GRANT SELECT, INSERT,
  UPDATE (state, assignee, decider, reason, timer_id, revision, decided_at, settled_at) ON approvals TO orchestrator_app;

-- migrate:down
SELECT 1 / 0;  -- forward only
