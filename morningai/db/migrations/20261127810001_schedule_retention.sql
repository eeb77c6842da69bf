-- migrate:up

-- A schedule is open for years: what its timers and questions left behind is over when it is old, and not when it is closed.
GRANT SELECT (schedule_id) ON kernel.tasks TO kernel_janitor;

CREATE OR REPLACE FUNCTION kernel.sweep_outbox(kept interval, most integer) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE deleted bigint;
BEGIN
  EXECUTE format(
    'DELETE FROM %1$I.outbox AS o USING (SELECT old.* FROM kernel.tenants_in(''outbox'') AS t (tenant_id), LATERAL ('
    '  SELECT o.tenant_id, o.id FROM %1$I.outbox AS o '
    '  WHERE o.tenant_id = t.tenant_id AND o.id < kernel.first_id(now() - $1) AND o.published_at < now() - $1 '
    '  AND (SELECT true FROM kernel.tasks AS k WHERE k.tenant_id = o.tenant_id AND k.task_id = o.task_id '
    '       AND (k.closed_at IS NULL AND k.schedule_id IS DISTINCT FROM k.task_id OR k.closed_at >= now() - $1)) IS NULL '
    '  ORDER BY o.id LIMIT $2) AS old LIMIT $2) AS over '
    'WHERE o.tenant_id = over.tenant_id AND o.id = over.id AND o.published_at < now() - $1',
    kernel.swept_service()) USING kept, most;
  GET DIAGNOSTICS deleted = ROW_COUNT;
  RETURN deleted;
END $$;

CREATE OR REPLACE FUNCTION kernel.sweep_leases(kept interval, most integer) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE deleted bigint;
BEGIN
  EXECUTE format(
    'DELETE FROM %1$I.leases AS l USING (SELECT old.* FROM kernel.tenants_in(''leases'') AS t (tenant_id), LATERAL ('
    '  SELECT l.tenant_id, l.work_id FROM %1$I.leases AS l '
    '  WHERE l.tenant_id = t.tenant_id AND l.work_id < kernel.first_id(now() - $1) AND l.updated_at < now() - $1 '
    '  AND (SELECT true FROM kernel.tasks AS k WHERE k.tenant_id = l.tenant_id AND k.task_id = l.task_id '
    '       AND (k.closed_at IS NULL AND k.schedule_id IS DISTINCT FROM k.task_id OR k.closed_at >= now() - $1)) IS NULL '
    '  ORDER BY l.work_id LIMIT $2) AS old LIMIT $2) AS over '
    'WHERE l.tenant_id = over.tenant_id AND l.work_id = over.work_id',
    kernel.swept_service()) USING kept, most;
  GET DIAGNOSTICS deleted = ROW_COUNT;
  RETURN deleted;
END $$;

DO $$
DECLARE
  signature text;
  choice text;
BEGIN
  FOREACH signature IN ARRAY ARRAY['kernel.sweep_outbox(interval, integer)', 'kernel.sweep_leases(interval, integer)'] LOOP
    FOREACH choice IN ARRAY ARRAY['seqscan', 'bitmapscan', 'hashjoin', 'mergejoin', 'sort', 'incremental_sort'] LOOP
      EXECUTE format('ALTER FUNCTION %s SET %I = off', signature, 'enable_' || choice);
    END LOOP;
  END LOOP;
END $$;

-- migrate:down
SELECT 1 / 0;  -- forward only
