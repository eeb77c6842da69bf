-- migrate:up

CREATE POLICY registrar ON outbox FOR INSERT TO tenancy_registrar WITH CHECK (tenant_id = (SELECT kernel.tenant_id()));
COMMENT ON POLICY registrar ON outbox IS 'declared: suspending a tenant ends its tasks, in a session of that tenant';
GRANT INSERT ON outbox TO tenancy_registrar;

-- Sends the same message to each open task of a tenant, sealed as that tenant's, and returns how many there were. Needs
-- an operator's session, which goes on afterwards.
CREATE FUNCTION send_to_open_tasks(tenant uuid, type text, subject text, body bytea, traceparent text) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  operator_proof text := current_setting('morningai.proof');
  operator text := (kernel.current_proof()).principal;
  sent integer;
BEGIN
  PERFORM tenancy.held_scopes('operator');
  PERFORM set_config('morningai.proof', kernel.mint_grant(tenant, operator, ARRAY['tasks.write'], '1 minute'), true);
  INSERT INTO tenancy.outbox (task_id, type, subject, body, traceparent)
  SELECT open.task_id, type, subject, body, traceparent FROM kernel.open_tasks(tenant) AS open (task_id);
  GET DIAGNOSTICS sent = ROW_COUNT;
  PERFORM set_config('morningai.proof', operator_proof, true);
  RETURN sent;
END $$;
REVOKE ALL ON FUNCTION send_to_open_tasks(uuid, text, text, bytea, text) FROM PUBLIC;
ALTER FUNCTION send_to_open_tasks(uuid, text, text, bytea, text) OWNER TO tenancy_registrar;
GRANT EXECUTE ON FUNCTION send_to_open_tasks(uuid, text, text, bytea, text) TO tenancy_app;

-- migrate:down
SELECT 1 / 0;  -- forward only
