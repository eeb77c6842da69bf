-- migrate:up

-- As before, but both open their sessions: a proof that is only set has no tenant. And an identity, which is in no tenant
-- yet, has rates of its own: one stranger does not use up those of all others.
CREATE OR REPLACE FUNCTION admit(presented text, class text) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  principal text := split_part(presented, '|', 4);
  caller uuid;
BEGIN
  PERFORM kernel.open_session(presented);
  caller := CASE WHEN principal LIKE 'identity:%' THEN substr(principal, length('identity:') + 1)::uuid
                 ELSE kernel.tenant_id() END;
  RETURN tenancy.admit_at(caller, class, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint);
END $$;

CREATE OR REPLACE FUNCTION send_to_open_tasks(tenant uuid, type text, subject text, body bytea, traceparent text)
RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  operator_proof text := current_setting('morningai.proof');
  operator text := (kernel.current_proof()).principal;
  sent integer;
BEGIN
  PERFORM tenancy.held_scopes('operator');
  PERFORM kernel.open_session(kernel.mint_grant(tenant, operator, ARRAY['tasks.write'], '1 minute'));
  INSERT INTO tenancy.outbox (task_id, type, subject, body, traceparent)
  SELECT open.task_id, type, subject, body, traceparent FROM kernel.open_tasks(tenant) AS open (task_id);
  GET DIAGNOSTICS sent = ROW_COUNT;
  PERFORM kernel.open_session(operator_proof);
  RETURN sent;
END $$;

-- migrate:down
SELECT 1 / 0;  -- forward only
