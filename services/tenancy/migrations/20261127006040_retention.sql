-- migrate:up

CREATE INDEX usage_by_day ON usage (day);
CREATE INDEX reservations_ended ON reservations (expires_at) WHERE state IN ('settled', 'released');

CREATE POLICY janitor_read ON usage FOR SELECT TO tenancy_janitor USING (true);
CREATE POLICY janitor ON usage FOR DELETE TO tenancy_janitor USING (day < current_date - 62);
CREATE POLICY janitor_read ON reservations FOR SELECT TO tenancy_janitor USING (true);
CREATE POLICY janitor ON reservations FOR DELETE TO tenancy_janitor
  USING (state IN ('settled', 'released') AND expires_at < now() - interval '8 days');
COMMENT ON POLICY janitor_read ON usage IS 'declared: what of all tenants is over';
COMMENT ON POLICY janitor ON usage IS 'declared: what was used before this month and the last';
COMMENT ON POLICY janitor_read ON reservations IS 'declared: what of all tenants is over';
COMMENT ON POLICY janitor ON reservations IS 'declared: reservations of calls that were charged or given back';
GRANT SELECT (tenant_id, day, task_id, model), DELETE ON usage TO tenancy_janitor;
GRANT SELECT (tenant_id, call_id, state, expires_at), DELETE ON reservations TO tenancy_janitor;

CREATE FUNCTION sweep_usage(kept interval, most integer) RETURNS bigint
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = tenancy, pg_catalog, pg_temp AS $$
  WITH over AS (
    SELECT tenant_id, day, task_id, model FROM usage WHERE day < (now() - kept)::date ORDER BY day LIMIT most
  ), deleted AS (
    DELETE FROM usage AS u USING over
    WHERE u.tenant_id = over.tenant_id AND u.day = over.day AND u.task_id = over.task_id AND u.model = over.model RETURNING 1
  )
  SELECT count(*) FROM deleted
$$;

CREATE FUNCTION sweep_ended_reservations(kept interval, most integer) RETURNS bigint
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = tenancy, pg_catalog, pg_temp AS $$
  WITH over AS (
    SELECT tenant_id, call_id FROM reservations
    WHERE state IN ('settled', 'released') AND expires_at < now() - kept ORDER BY expires_at LIMIT most
  ), deleted AS (
    DELETE FROM reservations AS r USING over WHERE r.tenant_id = over.tenant_id AND r.call_id = over.call_id RETURNING 1
  )
  SELECT count(*) FROM deleted
$$;

REVOKE ALL ON FUNCTION sweep_usage(interval, integer), sweep_ended_reservations(interval, integer) FROM PUBLIC;
ALTER FUNCTION sweep_usage(interval, integer) OWNER TO tenancy_janitor;
ALTER FUNCTION sweep_ended_reservations(interval, integer) OWNER TO tenancy_janitor;
SET LOCAL ROLE tenancy_janitor;
GRANT EXECUTE ON FUNCTION sweep_usage(interval, integer), sweep_ended_reservations(interval, integer) TO tenancy_relay;
SET LOCAL ROLE tenancy_owner;

-- migrate:down
SELECT 1 / 0;  -- forward only
