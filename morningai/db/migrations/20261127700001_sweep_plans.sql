-- migrate:up

-- A batch costs what it deletes, however much there is beside it: it finds the oldest rows of a tenant by their key, and
-- what belongs to a row by that one's key. The planner does not know how few rows a batch has: once a table was large
-- enough it went through all of it for every batch, and through every outbox for the receipts. So it has no choice.
CREATE OR REPLACE FUNCTION kernel.sweep_outbox(kept interval, most integer) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE deleted bigint;
BEGIN
  EXECUTE format(
    'DELETE FROM %1$I.outbox AS o USING (SELECT old.* FROM kernel.tenants_in(''outbox'') AS t (tenant_id), LATERAL ('
    '  SELECT o.tenant_id, o.id FROM %1$I.outbox AS o '
    '  WHERE o.tenant_id = t.tenant_id AND o.id < kernel.first_id(now() - $1) AND o.published_at < now() - $1 '
    '  AND (SELECT true FROM kernel.tasks AS k WHERE k.tenant_id = o.tenant_id AND k.task_id = o.task_id '
    '       AND (k.closed_at IS NULL OR k.closed_at >= now() - $1)) IS NULL ORDER BY o.id LIMIT $2) AS old LIMIT $2) AS over '
    'WHERE o.tenant_id = over.tenant_id AND o.id = over.id AND o.published_at < now() - $1',
    kernel.swept_service()) USING kept, most;
  GET DIAGNOSTICS deleted = ROW_COUNT;
  RETURN deleted;
END $$;

CREATE OR REPLACE FUNCTION kernel.sweep_inbox(kept interval, most integer) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE deleted bigint;
BEGIN
  EXECUTE format(
    'DELETE FROM %1$I.inbox AS i USING (SELECT old.* FROM kernel.tenants_in(''inbox'') AS t (tenant_id), LATERAL ('
    '  SELECT i.tenant_id, i.message_id, i.consumer FROM %1$I.inbox AS i '
    '  WHERE i.tenant_id = t.tenant_id AND i.message_id < kernel.first_id(now() - $1) AND i.received_at < now() - $1 '
    '  AND NOT EXISTS (SELECT FROM gateway.outbox AS o WHERE o.tenant_id = i.tenant_id AND o.id = i.message_id) '
    '  AND NOT EXISTS (SELECT FROM orchestrator.outbox AS o WHERE o.tenant_id = i.tenant_id AND o.id = i.message_id) '
    '  AND NOT EXISTS (SELECT FROM docs.outbox AS o WHERE o.tenant_id = i.tenant_id AND o.id = i.message_id) '
    '  AND NOT EXISTS (SELECT FROM faqgen.outbox AS o WHERE o.tenant_id = i.tenant_id AND o.id = i.message_id) '
    '  AND NOT EXISTS (SELECT FROM codegen.outbox AS o WHERE o.tenant_id = i.tenant_id AND o.id = i.message_id) '
    '  AND NOT EXISTS (SELECT FROM tenancy.outbox AS o WHERE o.tenant_id = i.tenant_id AND o.id = i.message_id) '
    '  ORDER BY i.message_id, i.consumer LIMIT $2) AS old LIMIT $2) AS over '
    'WHERE i.tenant_id = over.tenant_id AND i.message_id = over.message_id AND i.consumer = over.consumer',
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
    '       AND (k.closed_at IS NULL OR k.closed_at >= now() - $1)) IS NULL ORDER BY l.work_id LIMIT $2) AS old LIMIT $2) AS over '
    'WHERE l.tenant_id = over.tenant_id AND l.work_id = over.work_id',
    kernel.swept_service()) USING kept, most;
  GET DIAGNOSTICS deleted = ROW_COUNT;
  RETURN deleted;
END $$;

DO $$
DECLARE
  service text;
  signature text;
  choice text;
BEGIN
  FOREACH service IN ARRAY ARRAY['gateway', 'orchestrator', 'docs', 'faqgen', 'codegen', 'tenancy'] LOOP
    EXECUTE format('CREATE INDEX dead_letters_buried ON %I.dead_letters (buried_at)', service);
  END LOOP;
  FOREACH signature IN ARRAY ARRAY[
    'kernel.tenants_in(text)', 'kernel.sweep_outbox(interval, integer)', 'kernel.sweep_inbox(interval, integer)',
    'kernel.sweep_leases(interval, integer)', 'kernel.sweep_dead_letters(interval, integer)', 'kernel.sweep_tasks(interval, integer)'
  ] LOOP
    FOREACH choice IN ARRAY ARRAY['seqscan', 'bitmapscan', 'hashjoin', 'mergejoin', 'sort', 'incremental_sort'] LOOP
      EXECUTE format('ALTER FUNCTION %s SET %I = off', signature, 'enable_' || choice);
    END LOOP;
  END LOOP;
END $$;

-- migrate:down
SELECT 1 / 0;  -- forward only
