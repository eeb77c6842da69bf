-- migrate:up

-- Owns the decision which queued task starts next: of all tenants' tasks it sees their states, and of the outbox it may
-- mark a held row due.
CREATE ROLE orchestrator_admission NOLOGIN;
GRANT orchestrator_admission TO orchestrator_owner;
GRANT USAGE, CREATE ON SCHEMA orchestrator TO orchestrator_admission;
GRANT USAGE ON SCHEMA tenancy TO orchestrator_admission;

-- An operator's new limit may let tasks start.
GRANT USAGE ON SCHEMA orchestrator TO tenancy_registrar;

-- migrate:down
SELECT 1 / 0;  -- forward only
