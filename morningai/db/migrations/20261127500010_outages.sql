-- migrate:up

-- Of the attempts at a piece of work: those that failed, and those that ended through no fault of it, while a part was
-- away or its worker was asked to stop. The rest ended their process.
DO $$
DECLARE
  service text;
BEGIN
  FOREACH service IN ARRAY ARRAY['gateway', 'orchestrator', 'docs', 'faqgen', 'codegen', 'tenancy'] LOOP
    EXECUTE format('ALTER TABLE %I.leases '
                   'ADD COLUMN failures integer NOT NULL DEFAULT 0 CHECK (failures >= 0), '
                   'ADD COLUMN excused integer NOT NULL DEFAULT 0 CHECK (excused >= 0), '
                   'ADD COLUMN outage_seconds real NOT NULL DEFAULT 0 CHECK (outage_seconds >= 0)', service);
  END LOOP;
END $$;

-- migrate:down
SELECT 1 / 0;  -- forward only
