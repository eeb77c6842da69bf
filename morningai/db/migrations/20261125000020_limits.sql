-- migrate:up

-- Owns the functions that decide about limits; each names the tenant of the proof it verified.
CREATE ROLE tenancy_accountant NOLOGIN;
GRANT tenancy_accountant TO tenancy_owner;
GRANT USAGE, CREATE ON SCHEMA tenancy TO tenancy_accountant;
GRANT EXECUTE ON FUNCTION kernel.tenant_id(), kernel.current_proof(), kernel.has_scope(text)
  TO tenancy_accountant;

-- Limits are asked for in the caller's own transaction.
GRANT USAGE ON SCHEMA tenancy TO docs_app, faqgen_app, codegen_app;

-- migrate:down
SELECT 1 / 0;  -- forward only
