-- migrate:up

CREATE TABLE changes (
  tenant_id uuid NOT NULL DEFAULT kernel.tenant_id(),
  change_id uuid NOT NULL DEFAULT uuidv7(),
  task_id uuid NOT NULL,
  instruction text NOT NULL,
  source text NOT NULL,
  state text NOT NULL CHECK (state IN ('verified', 'verified_with_test_changes', 'unverified_no_tests', 'failed',
    'budget_exhausted', 'sandbox_unavailable', 'model_unavailable')),
  reason text NOT NULL,
  patch text NOT NULL,
  tests jsonb NOT NULL,
  attempts integer NOT NULL,
  evidence jsonb NOT NULL,
  provenance jsonb NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant_id, change_id)
);

-- What each step of a piece of work came to, so that a crash repeats at most one and asks no model twice.
CREATE TABLE steps (
  tenant_id uuid NOT NULL DEFAULT kernel.tenant_id(),
  work_id uuid NOT NULL,
  step text NOT NULL,
  attempt integer NOT NULL CHECK (attempt >= 0),
  record jsonb NOT NULL,
  recorded_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant_id, work_id, step, attempt)
);

DO $$
DECLARE name text;
BEGIN
  FOREACH name IN ARRAY ARRAY['changes', 'steps'] LOOP
    EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
    EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
    EXECUTE format('CREATE POLICY tenant ON %I TO codegen_app USING (tenant_id = (SELECT kernel.tenant_id())) '
                   'WITH CHECK (tenant_id = (SELECT kernel.tenant_id()))', name);
    EXECUTE format('GRANT SELECT, INSERT ON %I TO codegen_app', name);
  END LOOP;
END $$;

-- migrate:down
SELECT 1 / 0;  -- forward only
