-- migrate:up

CREATE ROLE tenancy_administrator NOLOGIN;  -- owns the administration of keys and members inside one tenant
CREATE ROLE tenancy_auditor NOLOGIN;        -- owns the writing of the audit log
GRANT tenancy_administrator, tenancy_auditor TO tenancy_owner;
GRANT USAGE, CREATE ON SCHEMA tenancy TO tenancy_administrator, tenancy_auditor;

GRANT EXECUTE ON FUNCTION kernel.tenant_id(), kernel.current_proof() TO tenancy_administrator, tenancy_auditor;
GRANT EXECUTE ON FUNCTION kernel.sign(text), kernel.mac(text, text) TO tenancy_administrator;

-- migrate:down
SELECT 1 / 0;  -- forward only
