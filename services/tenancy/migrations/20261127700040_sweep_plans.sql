-- migrate:up

-- That somebody agreed to a task's spending more is of no use once the task has ended: none is open for longer than thirty days.
CREATE INDEX lifted_limits_by_time ON lifted_limits (lifted_at);
CREATE POLICY janitor_read ON lifted_limits FOR SELECT TO tenancy_janitor USING (true);
CREATE POLICY janitor ON lifted_limits FOR DELETE TO tenancy_janitor USING (lifted_at < now() - interval '31 days');
COMMENT ON POLICY janitor_read ON lifted_limits IS 'declared: what of all tenants is over';
COMMENT ON POLICY janitor ON lifted_limits IS 'declared: of tasks that cannot be open any more';
GRANT SELECT (tenant_id, task_id, lifted_at), DELETE ON lifted_limits TO tenancy_janitor;

CREATE FUNCTION sweep_lifted_limits(kept interval, most integer) RETURNS bigint
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = tenancy, pg_catalog, pg_temp AS $$
  WITH over AS (
    SELECT tenant_id, task_id FROM lifted_limits WHERE lifted_at < now() - kept ORDER BY lifted_at LIMIT most
  ), deleted AS (
    DELETE FROM lifted_limits AS l USING over WHERE l.tenant_id = over.tenant_id AND l.task_id = over.task_id RETURNING 1
  )
  SELECT count(*) FROM deleted
$$;

REVOKE ALL ON FUNCTION sweep_lifted_limits(interval, integer) FROM PUBLIC;
ALTER FUNCTION sweep_lifted_limits(interval, integer) OWNER TO tenancy_janitor;
SET LOCAL ROLE tenancy_janitor;
GRANT EXECUTE ON FUNCTION sweep_lifted_limits(interval, integer) TO tenancy_relay;
SET LOCAL ROLE tenancy_owner;

-- A batch costs what it deletes: the planner may not go through a whole table for it.
DO $$
DECLARE
  signature text;
  choice text;
BEGIN
  FOREACH signature IN ARRAY ARRAY['sweep_usage(interval, integer)', 'sweep_ended_reservations(interval, integer)', 'sweep_lifted_limits(interval, integer)'] LOOP
    FOREACH choice IN ARRAY ARRAY['seqscan', 'bitmapscan', 'hashjoin', 'mergejoin', 'sort', 'incremental_sort'] LOOP
      EXECUTE format('ALTER FUNCTION %s SET %I = off', signature, 'enable_' || choice);
    END LOOP;
  END LOOP;
END $$;

-- migrate:down
SELECT 1 / 0;  -- forward only
