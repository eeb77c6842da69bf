-- migrate:up

-- What is over is deleted, by functions whose owners see of a row what says so. Each relay login sweeps its own
-- service's tables. How long at least is the policies' matter: no argument shortens it.
CREATE ROLE kernel_janitor NOLOGIN;
GRANT USAGE ON SCHEMA kernel TO kernel_janitor;

CREATE POLICY janitor_read ON kernel.tasks FOR SELECT TO kernel_janitor USING (true);
CREATE POLICY janitor ON kernel.tasks FOR DELETE TO kernel_janitor USING (closed_at < now() - interval '8 days');
COMMENT ON POLICY janitor_read ON kernel.tasks IS 'declared: whether the task of a row is over';
COMMENT ON POLICY janitor ON kernel.tasks IS 'declared: tasks whose last seal has ended';
GRANT SELECT (tenant_id, task_id, closed_at), DELETE ON kernel.tasks TO kernel_janitor;
CREATE INDEX tasks_closed ON kernel.tasks (closed_at) WHERE closed_at IS NOT NULL;

DO $$
DECLARE service text;
BEGIN
  FOREACH service IN ARRAY ARRAY['gateway', 'orchestrator', 'docs', 'faqgen', 'codegen', 'tenancy'] LOOP
    EXECUTE format('GRANT USAGE ON SCHEMA %I TO kernel_janitor', service);
    EXECUTE format('CREATE POLICY janitor_read ON %I.outbox FOR SELECT TO kernel_janitor USING (true)', service);
    EXECUTE format('CREATE POLICY janitor_read ON %I.inbox FOR SELECT TO kernel_janitor USING (true)', service);
    EXECUTE format('CREATE POLICY janitor_read ON %I.leases FOR SELECT TO kernel_janitor USING (true)', service);
    EXECUTE format('CREATE POLICY janitor_read ON %I.dead_letters FOR SELECT TO kernel_janitor USING (true)', service);
    EXECUTE format('CREATE POLICY janitor ON %I.outbox FOR DELETE TO kernel_janitor '
                   'USING (published_at < now() - interval ''8 days'')', service);
    EXECUTE format('CREATE POLICY janitor ON %I.inbox FOR DELETE TO kernel_janitor '
                   'USING (received_at < now() - interval ''8 days'')', service);
    EXECUTE format('CREATE POLICY janitor ON %I.leases FOR DELETE TO kernel_janitor '
                   'USING (updated_at < now() - interval ''1 hour'')', service);
    EXECUTE format('CREATE POLICY janitor ON %I.dead_letters FOR DELETE TO kernel_janitor '
                   'USING (buried_at < now() - interval ''8 days'')', service);
    EXECUTE format('COMMENT ON POLICY janitor_read ON %I.outbox IS %L', service, 'declared: what of all tenants is over');
    EXECUTE format('COMMENT ON POLICY janitor_read ON %I.inbox IS %L', service, 'declared: what of all tenants is over');
    EXECUTE format('COMMENT ON POLICY janitor_read ON %I.leases IS %L', service, 'declared: what of all tenants is over');
    EXECUTE format('COMMENT ON POLICY janitor_read ON %I.dead_letters IS %L', service, 'declared: what of all tenants is over');
    EXECUTE format('COMMENT ON POLICY janitor ON %I.outbox IS %L', service,
                   'declared: published for longer than the bus keeps a message');
    EXECUTE format('COMMENT ON POLICY janitor ON %I.inbox IS %L', service,
                   'declared: received longer ago than the bus keeps a message');
    EXECUTE format('COMMENT ON POLICY janitor ON %I.leases IS %L', service,
                   'declared: nobody renewed them for longer than a command''s seal outlives its task');
    EXECUTE format('COMMENT ON POLICY janitor ON %I.dead_letters IS %L', service,
                   'declared: buried longer ago than the bus keeps a message');
    EXECUTE format('GRANT SELECT (tenant_id, id, task_id, published_at), DELETE ON %I.outbox TO kernel_janitor', service);
    EXECUTE format('GRANT SELECT (tenant_id, message_id, consumer, received_at), DELETE ON %I.inbox TO kernel_janitor', service);
    EXECUTE format('GRANT SELECT (tenant_id, work_id, task_id, updated_at), DELETE ON %I.leases TO kernel_janitor', service);
    EXECUTE format('GRANT SELECT (tenant_id, message_id, consumer, buried_at), DELETE ON %I.dead_letters TO kernel_janitor', service);
  END LOOP;
  -- Own the sweeping of what their service alone has.
  FOREACH service IN ARRAY ARRAY['gateway', 'orchestrator', 'codegen', 'tenancy'] LOOP
    EXECUTE format('CREATE ROLE %I NOLOGIN', service || '_janitor');
    EXECUTE format('GRANT %I TO %I', service || '_janitor', service || '_owner');
    EXECUTE format('GRANT USAGE, CREATE ON SCHEMA %I TO %I', service, service || '_janitor');
    EXECUTE format('GRANT USAGE ON SCHEMA kernel TO %I', service || '_janitor');
  END LOOP;
END $$;

CREATE POLICY codegen_janitor ON kernel.tasks FOR SELECT TO codegen_janitor USING (true);
COMMENT ON POLICY codegen_janitor ON kernel.tasks IS 'declared: whether the task of a step is over';
GRANT SELECT (tenant_id, task_id, closed_at) ON kernel.tasks TO codegen_janitor;

-- The least id (RFC 9562, version 7) of a time: the rows before it are found by their primary key.
CREATE FUNCTION kernel.first_id(moment timestamptz) RETURNS uuid LANGUAGE sql IMMUTABLE SET search_path = pg_catalog AS $$
  SELECT (lpad(to_hex(floor(extract(epoch FROM moment) * 1000)::bigint), 12, '0') || repeat('0', 20))::uuid
$$;

CREATE FUNCTION kernel.swept_service() RETURNS text LANGUAGE plpgsql STABLE SET search_path = pg_catalog AS $$
BEGIN
  IF session_user NOT LIKE '%\_relay' THEN
    RAISE EXCEPTION 'a relay sweeps its own service' USING ERRCODE = 'insufficient_privilege';
  END IF;
  RETURN left(session_user, -length('_relay'));
END $$;

-- One tenant after the other, each by its index: no tenant's rows are read to find another's.
CREATE FUNCTION kernel.tenants_in(swept text) RETURNS SETOF uuid
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  service CONSTANT text := kernel.swept_service();
  found uuid;
BEGIN
  EXECUTE format('SELECT tenant_id FROM %I.%I ORDER BY tenant_id LIMIT 1', service, swept) INTO found;
  WHILE found IS NOT NULL LOOP
    RETURN NEXT found;
    EXECUTE format('SELECT tenant_id FROM %I.%I WHERE tenant_id > $1 ORDER BY tenant_id LIMIT 1', service, swept)
    INTO found USING found;
  END LOOP;
END $$;

-- Each row asks for its task by its key: as a join, a batch would read all tasks.
-- Messages of an open task stay, however old: their replies may be asked for again.
CREATE FUNCTION kernel.sweep_outbox(kept interval, most integer) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE deleted bigint;
BEGIN
  EXECUTE format(
    'DELETE FROM %1$I.outbox AS o USING (SELECT old.* FROM kernel.tenants_in(''outbox'') AS t (tenant_id), LATERAL ('
    '  SELECT o.tenant_id, o.id FROM %1$I.outbox AS o '
    '  WHERE o.tenant_id = t.tenant_id AND o.id < kernel.first_id(now() - $1) AND o.published_at < now() - $1 '
    '  AND (SELECT true FROM kernel.tasks AS k WHERE k.tenant_id = o.tenant_id AND k.task_id = o.task_id '
    '       AND (k.closed_at IS NULL OR k.closed_at >= now() - $1)) IS NULL LIMIT $2) AS old LIMIT $2) AS over '
    'WHERE o.tenant_id = over.tenant_id AND o.id = over.id AND o.published_at < now() - $1',
    kernel.swept_service()) USING kept, most;
  GET DIAGNOSTICS deleted = ROW_COUNT;
  RETURN deleted;
END $$;

-- A receipt outlives its message, whoever sent it: without it the message would count as lost, or take effect twice.
CREATE FUNCTION kernel.sweep_inbox(kept interval, most integer) RETURNS bigint
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
    '  LIMIT $2) AS old LIMIT $2) AS over '
    'WHERE i.tenant_id = over.tenant_id AND i.message_id = over.message_id AND i.consumer = over.consumer',
    kernel.swept_service()) USING kept, most;
  GET DIAGNOSTICS deleted = ROW_COUNT;
  RETURN deleted;
END $$;

CREATE FUNCTION kernel.sweep_leases(kept interval, most integer) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE deleted bigint;
BEGIN
  EXECUTE format(
    'DELETE FROM %1$I.leases AS l USING (SELECT old.* FROM kernel.tenants_in(''leases'') AS t (tenant_id), LATERAL ('
    '  SELECT l.tenant_id, l.work_id FROM %1$I.leases AS l '
    '  WHERE l.tenant_id = t.tenant_id AND l.work_id < kernel.first_id(now() - $1) AND l.updated_at < now() - $1 '
    '  AND (SELECT true FROM kernel.tasks AS k WHERE k.tenant_id = l.tenant_id AND k.task_id = l.task_id '
    '       AND (k.closed_at IS NULL OR k.closed_at >= now() - $1)) IS NULL LIMIT $2) AS old LIMIT $2) AS over '
    'WHERE l.tenant_id = over.tenant_id AND l.work_id = over.work_id',
    kernel.swept_service()) USING kept, most;
  GET DIAGNOSTICS deleted = ROW_COUNT;
  RETURN deleted;
END $$;

-- Their ids are what their senders made up, so they are found by nothing but their age; there are few.
CREATE FUNCTION kernel.sweep_dead_letters(kept interval, most integer) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE deleted bigint;
BEGIN
  EXECUTE format(
    'DELETE FROM %1$I.dead_letters AS d USING (SELECT d.tenant_id, d.message_id, d.consumer FROM %1$I.dead_letters AS d '
    '  WHERE d.buried_at < now() - $1 '
    '  AND NOT EXISTS (SELECT FROM gateway.outbox AS o WHERE o.tenant_id = d.tenant_id AND o.id = d.message_id) '
    '  AND NOT EXISTS (SELECT FROM orchestrator.outbox AS o WHERE o.tenant_id = d.tenant_id AND o.id = d.message_id) '
    '  AND NOT EXISTS (SELECT FROM docs.outbox AS o WHERE o.tenant_id = d.tenant_id AND o.id = d.message_id) '
    '  AND NOT EXISTS (SELECT FROM faqgen.outbox AS o WHERE o.tenant_id = d.tenant_id AND o.id = d.message_id) '
    '  AND NOT EXISTS (SELECT FROM codegen.outbox AS o WHERE o.tenant_id = d.tenant_id AND o.id = d.message_id) '
    '  AND NOT EXISTS (SELECT FROM tenancy.outbox AS o WHERE o.tenant_id = d.tenant_id AND o.id = d.message_id) '
    '  LIMIT $2) AS over '
    'WHERE d.tenant_id = over.tenant_id AND d.message_id = over.message_id AND d.consumer = over.consumer',
    kernel.swept_service()) USING kept, most;
  GET DIAGNOSTICS deleted = ROW_COUNT;
  RETURN deleted;
END $$;

-- A seal of a task that is not here opens nothing, so a task goes last.
CREATE FUNCTION kernel.sweep_tasks(kept interval, most integer) RETURNS bigint
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  WITH over AS (
    SELECT tenant_id, task_id FROM kernel.tasks WHERE closed_at < now() - kept ORDER BY closed_at LIMIT most
  ), deleted AS (
    DELETE FROM kernel.tasks AS t USING over WHERE t.tenant_id = over.tenant_id AND t.task_id = over.task_id RETURNING 1
  )
  SELECT count(*) FROM deleted
$$;

DO $$
DECLARE signature text;
BEGIN
  GRANT CREATE ON SCHEMA kernel TO kernel_janitor;
  FOREACH signature IN ARRAY ARRAY[
    'kernel.tenants_in(text)', 'kernel.sweep_outbox(interval, integer)', 'kernel.sweep_inbox(interval, integer)',
    'kernel.sweep_leases(interval, integer)', 'kernel.sweep_dead_letters(interval, integer)', 'kernel.sweep_tasks(interval, integer)'
  ] LOOP
    EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', signature);
    EXECUTE format('ALTER FUNCTION %s OWNER TO kernel_janitor', signature);
    IF signature NOT LIKE 'kernel.tenants_in%' AND signature NOT LIKE 'kernel.sweep_tasks%' THEN
      EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO gateway_relay, orchestrator_relay, docs_relay, faqgen_relay, '
                     'codegen_relay, tenancy_relay', signature);
    END IF;
  END LOOP;
  REVOKE CREATE ON SCHEMA kernel FROM kernel_janitor;
  GRANT EXECUTE ON FUNCTION kernel.sweep_tasks(interval, integer) TO orchestrator_relay;
END $$;

-- migrate:down
SELECT 1 / 0;  -- forward only
