-- migrate:up

ALTER TABLE default_limits NO FORCE ROW LEVEL SECURITY;
INSERT INTO default_limits (name, value, description) VALUES
  ('refused_calls_per_minute', 10, 'refused administrative calls that are written to the audit log'),
  ('refused_calls_burst', 20, 'refused administrative calls that are written to the audit log, at once');
ALTER TABLE default_limits FORCE ROW LEVEL SECURITY;

-- An entry of the proof's tenant that a call was refused, unless too many were of late: then, without a tenant and for a
-- proof that is not valid it is false. A statement and transaction of its own, because the call's is rolled back.
CREATE FUNCTION record_refusal(presented text, action text, resource text, details jsonb, trace_id text) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE proof kernel.proof;
BEGIN
  PERFORM set_config('morningai.proof', presented, true), set_config('morningai.trace_id', trace_id, true);
  proof := kernel.current_proof();
  IF proof.tenant_id IS NULL OR proof.principal !~ '^(key|user):'
    OR tenancy.admit_at(proof.tenant_id, 'refused', (extract(epoch FROM clock_timestamp()) * 1000000)::bigint) > 0 THEN
    RETURN false;
  END IF;
  PERFORM tenancy.record(action, resource, details, 'refused');
  RETURN true;
END $$;
REVOKE ALL ON FUNCTION record_refusal(text, text, text, jsonb, text) FROM PUBLIC;
ALTER FUNCTION record_refusal(text, text, text, jsonb, text) OWNER TO tenancy_accountant;
GRANT EXECUTE ON FUNCTION record_refusal(text, text, text, jsonb, text) TO gateway_app, docs_app, tenancy_app;

-- migrate:down
SELECT 1 / 0;  -- forward only
