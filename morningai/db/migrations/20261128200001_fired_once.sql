-- migrate:up

-- Says whether the task is open. One that ended is not opened again: its messages would be sealed for nobody.
DROP FUNCTION kernel.open_scheduled_task(uuid);
CREATE FUNCTION kernel.open_scheduled_task(fired uuid) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE proof kernel.proof := kernel.current_proof();
BEGIN
  IF kernel.tenant_id() IS NULL OR proof.kind IS DISTINCT FROM 's' OR NOT EXISTS (
    SELECT FROM kernel.tasks AS t
    WHERE t.tenant_id = proof.tenant_id AND t.task_id = proof.task_id AND t.schedule_id = t.task_id AND t.closed_at IS NULL
  ) THEN
    RAISE EXCEPTION 'only an open schedule fires' USING ERRCODE = 'insufficient_privilege';
  END IF;
  IF NOT tenancy.principal_may('tasks.write') THEN
    RAISE EXCEPTION 'whom schedule % acts for may not ask for tasks', proof.task_id USING ERRCODE = 'insufficient_privilege';
  END IF;
  INSERT INTO kernel.tasks (tenant_id, task_id, principal, schedule_id)
  VALUES (proof.tenant_id, fired, proof.principal, proof.task_id) ON CONFLICT DO NOTHING;
  RETURN EXISTS (SELECT FROM kernel.tasks WHERE tenant_id = proof.tenant_id AND task_id = fired AND closed_at IS NULL);
END $$;

GRANT CREATE ON SCHEMA kernel TO kernel_prover;
REVOKE ALL ON FUNCTION kernel.open_scheduled_task(uuid) FROM PUBLIC;
ALTER FUNCTION kernel.open_scheduled_task(uuid) OWNER TO kernel_prover;
GRANT EXECUTE ON FUNCTION kernel.open_scheduled_task(uuid) TO gateway_app;
REVOKE CREATE ON SCHEMA kernel FROM kernel_prover;

-- migrate:down
SELECT 1 / 0;  -- forward only
