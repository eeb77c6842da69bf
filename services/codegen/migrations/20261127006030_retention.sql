-- migrate:up

CREATE POLICY janitor_read ON steps FOR SELECT TO codegen_janitor USING (true);
CREATE POLICY janitor ON steps FOR DELETE TO codegen_janitor USING (recorded_at < now() - interval '1 hour');
CREATE POLICY own_janitor_read ON leases FOR SELECT TO codegen_janitor USING (true);
COMMENT ON POLICY janitor_read ON steps IS 'declared: what of all tenants is over';
COMMENT ON POLICY janitor ON steps IS 'declared: steps of tasks of all tenants that have ended';
COMMENT ON POLICY own_janitor_read ON leases IS 'declared: which task a step was for';
GRANT SELECT (tenant_id, work_id, recorded_at), DELETE ON steps TO codegen_janitor;
GRANT SELECT (tenant_id, work_id, task_id) ON leases TO codegen_janitor;
CREATE INDEX steps_recorded ON steps (recorded_at);

-- Work without a lease is over, too: leases are swept after their task has ended.
CREATE FUNCTION sweep_steps(kept interval, most integer) RETURNS bigint
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = codegen, pg_catalog, pg_temp AS $$
  WITH over AS (
    SELECT s.tenant_id, s.work_id FROM steps AS s
    WHERE s.recorded_at < now() - kept
      AND NOT EXISTS (SELECT FROM leases AS l JOIN kernel.tasks AS k ON k.tenant_id = l.tenant_id AND k.task_id = l.task_id
                      WHERE l.tenant_id = s.tenant_id AND l.work_id = s.work_id
                        AND (k.closed_at IS NULL OR k.closed_at >= now() - kept))
    ORDER BY s.recorded_at LIMIT most
  ), deleted AS (
    DELETE FROM steps AS s USING (SELECT DISTINCT tenant_id, work_id FROM over) AS w
    WHERE s.tenant_id = w.tenant_id AND s.work_id = w.work_id AND s.recorded_at < now() - kept RETURNING 1
  )
  SELECT count(*) FROM deleted
$$;

REVOKE ALL ON FUNCTION sweep_steps(interval, integer) FROM PUBLIC;
ALTER FUNCTION sweep_steps(interval, integer) OWNER TO codegen_janitor;
SET LOCAL ROLE codegen_janitor;
GRANT EXECUTE ON FUNCTION sweep_steps(interval, integer) TO codegen_relay;
SET LOCAL ROLE codegen_owner;

-- migrate:down
SELECT 1 / 0;  -- forward only
