-- migrate:up

-- As before, but both open their sessions: a proof that is only set has no tenant.
CREATE OR REPLACE FUNCTION admit(presented text, class text) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM kernel.open_session(presented);
  RETURN tenancy.admit_at(kernel.tenant_id(), class, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint);
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
