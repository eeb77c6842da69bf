-- migrate:up

-- The open tasks of a tenant, for suspending it.
CREATE FUNCTION kernel.open_tasks(tenant uuid) RETURNS SETOF uuid
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT task_id FROM kernel.tasks WHERE tenant_id = tenant AND closed_at IS NULL
$$;
REVOKE ALL ON FUNCTION kernel.open_tasks(uuid) FROM PUBLIC;
GRANT CREATE ON SCHEMA kernel TO kernel_prover;
ALTER FUNCTION kernel.open_tasks(uuid) OWNER TO kernel_prover;
REVOKE CREATE ON SCHEMA kernel FROM kernel_prover;
GRANT EXECUTE ON FUNCTION kernel.open_tasks(uuid) TO tenancy_registrar;

-- migrate:down
SELECT 1 / 0;  -- forward only
