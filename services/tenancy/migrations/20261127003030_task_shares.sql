-- migrate:up

ALTER TABLE default_limits NO FORCE ROW LEVEL SECURITY;
INSERT INTO default_limits (name, value, description) VALUES
  ('concurrent_tasks', 16, 'tasks that run at a time'),
  ('task_weight', 100, 'share of the slots for tasks when they are scarce, beside the 100 of others');
ALTER TABLE default_limits FORCE ROW LEVEL SECURITY;

-- How many tasks of each tenant may run at a time, NULL for no limit, and its weight beside the others.
CREATE FUNCTION task_shares(tenants uuid[]) RETURNS TABLE (tenant_id uuid, concurrency bigint, weight bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT tenant, tenancy.limit_of(tenant, 'concurrent_tasks'),
         greatest(coalesce(tenancy.limit_of(tenant, 'task_weight'), 100), 1)
  FROM unnest(tenants) AS tenant
$$;
REVOKE ALL ON FUNCTION task_shares(uuid[]) FROM PUBLIC;
ALTER FUNCTION task_shares(uuid[]) OWNER TO tenancy_accountant;
GRANT EXECUTE ON FUNCTION task_shares(uuid[]) TO orchestrator_admission;

-- As before; and a limit of tasks holds at once, for those that are queued too.
CREATE OR REPLACE FUNCTION set_operator_limit(tenant uuid, limit_name text, new_value bigint) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE old_value bigint;
BEGIN
  PERFORM tenancy.held_scopes('operator');
  IF NOT EXISTS (SELECT FROM tenancy.tenants WHERE tenant_id = tenant)
    OR NOT EXISTS (SELECT FROM tenancy.default_limits WHERE name = limit_name) THEN RETURN false; END IF;
  INSERT INTO tenancy.limits AS l (tenant_id, name, operator_value) VALUES (tenant, limit_name, new_value)
  ON CONFLICT (tenant_id, name) DO UPDATE SET operator_value = excluded.operator_value, updated_at = now()
  RETURNING old.operator_value INTO old_value;
  PERFORM tenancy.record_in(tenant, (kernel.current_proof()).principal, 'limits.set', 'limits/' || limit_name,
                            jsonb_build_object('value', new_value, 'old_value', old_value), 'succeeded');
  IF limit_name IN ('concurrent_tasks', 'task_weight') AND orchestrator.admit() > 0 THEN
    PERFORM pg_notify('outbox_orchestrator', '');
  END IF;
  RETURN true;
END $$;

-- migrate:down
SELECT 1 / 0;  -- forward only
