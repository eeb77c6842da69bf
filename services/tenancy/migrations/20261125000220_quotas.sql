-- migrate:up

ALTER TABLE default_limits NO FORCE ROW LEVEL SECURITY;
INSERT INTO default_limits (name, value, description) VALUES
  ('active_tasks', 2000, 'tasks that have not ended'),
  ('sources', 200, 'sources'),
  ('storage_bytes', 10737418240, 'bytes of uploads and of files that were read');
ALTER TABLE default_limits FORCE ROW LEVEL SECURITY;

-- The quota of the session's tenant, NULL for none. Until the transaction ends nobody else of the tenant gets it: what is
-- counted in the statement after this one holds until the commit.
CREATE FUNCTION hold_quota(quota text) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE tenant uuid := kernel.tenant_id();
BEGIN
  IF tenant IS NULL THEN
    RAISE EXCEPTION 'no verified session' USING ERRCODE = 'insufficient_privilege';
  END IF;
  PERFORM pg_advisory_xact_lock(hashtextextended('quota|' || tenant || '|' || quota, 0));
  RETURN tenancy.limit_of(tenant, quota);
END $$;
REVOKE ALL ON FUNCTION hold_quota(text) FROM PUBLIC;
ALTER FUNCTION hold_quota(text) OWNER TO tenancy_accountant;
GRANT EXECUTE ON FUNCTION hold_quota(text) TO gateway_app, docs_app;

-- migrate:down
SELECT 1 / 0;  -- forward only
