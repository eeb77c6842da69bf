-- migrate:up

CREATE ROLE tenancy_postmaster NOLOGIN;  -- owns what a tenant does with the dead letters of all services
GRANT tenancy_postmaster TO tenancy_owner;
GRANT USAGE, CREATE ON SCHEMA tenancy TO tenancy_postmaster;
GRANT USAGE ON SCHEMA kernel TO tenancy_postmaster;
GRANT EXECUTE ON FUNCTION kernel.tenant_id(), kernel.current_proof(), kernel.seal_is_in_time(kernel.proof)
  TO tenancy_postmaster;

DO $$
DECLARE
  service text;
  own text := 'tenant_id = (SELECT kernel.tenant_id())';
  quarantine text := '00000000-0000-0000-0000-000000000000';
BEGIN
  FOREACH service IN ARRAY ARRAY['gateway', 'orchestrator', 'docs', 'faqgen', 'codegen', 'tenancy'] LOOP
    EXECUTE format('ALTER TABLE %I.dead_letters '
                   'ADD COLUMN state text NOT NULL DEFAULT ''buried'' CHECK (state IN (''buried'', ''replayed'', ''dropped'')), '
                   'ADD COLUMN decided_at timestamptz, '
                   'ADD COLUMN decided_by text NOT NULL DEFAULT '''', '
                   'ADD COLUMN why text NOT NULL DEFAULT '''' CHECK (length(why) <= 500)', service);
    EXECUTE format('CREATE INDEX dead_letters_by_time ON %I.dead_letters (tenant_id, buried_at)', service);
    -- A message that was replayed and failed again is a dead letter again.
    EXECUTE format('GRANT UPDATE (reason, error, deliveries, buried_at, state) ON %I.dead_letters TO %I',
                   service, service || '_app');

    EXECUTE format('GRANT USAGE ON SCHEMA %I TO tenancy_postmaster, tenancy_registrar', service);
    EXECUTE format('CREATE POLICY postmaster ON %I.dead_letters TO tenancy_postmaster USING (%s) WITH CHECK (%s)', service, own, own);
    EXECUTE format('GRANT SELECT, UPDATE (state, decided_at, decided_by, why) ON %I.dead_letters TO tenancy_postmaster', service);
    EXECUTE format('CREATE POLICY postmaster ON %I.inbox FOR SELECT TO tenancy_postmaster USING (%s)', service, own);
    EXECUTE format('COMMENT ON POLICY postmaster ON %I.inbox IS %L', service, 'declared: whether the tenant''s message was received');
    EXECUTE format('GRANT SELECT (tenant_id, message_id) ON %I.inbox TO tenancy_postmaster', service);
    EXECUTE format('CREATE POLICY postmaster_read ON %I.outbox FOR SELECT TO tenancy_postmaster USING (true)', service);
    EXECUTE format('CREATE POLICY postmaster_mark ON %I.outbox FOR UPDATE TO tenancy_postmaster USING (true) WITH CHECK (true)', service);
    EXECUTE format('COMMENT ON POLICY postmaster_read ON %I.outbox IS %L', service,
                   'declared: a message is sent again outside its tenant''s session, so that it keeps the seal of its own principal');
    EXECUTE format('COMMENT ON POLICY postmaster_mark ON %I.outbox IS %L', service,
                   'declared: as postmaster_read; its column grant is the times alone');
    EXECUTE format('GRANT SELECT (tenant_id, id, task_id, subject, published_at), UPDATE (due_at, published_at) '
                   'ON %I.outbox TO tenancy_postmaster', service);

    -- An operator sees that there are letters, and why; of no letter what it says.
    EXECUTE format('CREATE POLICY registrar_read ON %I.dead_letters FOR SELECT TO tenancy_registrar USING (true)', service);
    EXECUTE format('CREATE POLICY registrar_drop ON %I.dead_letters FOR UPDATE TO tenancy_registrar '
                   'USING (tenant_id = %L) WITH CHECK (tenant_id = %L)', service, quarantine, quarantine);
    EXECUTE format('COMMENT ON POLICY registrar_read ON %I.dead_letters IS %L', service,
                   'declared: an operator sees the dead letters of all tenants without their content');
    EXECUTE format('COMMENT ON POLICY registrar_drop ON %I.dead_letters IS %L', service,
                   'declared: messages that prove no tenant are an operator''s to drop');
    EXECUTE format('GRANT SELECT (tenant_id, message_id, consumer, type, reason, error, deliveries, trace_id, buried_at, '
                   'state, decided_at, decided_by, why), UPDATE (state, decided_at, decided_by, why) '
                   'ON %I.dead_letters TO tenancy_registrar', service);

    -- What was replayed and not received yet is lost with the bus, like any other message.
    EXECUTE format('ALTER POLICY courier ON %I.dead_letters USING (state <> ''replayed'')', service);
  END LOOP;
END $$;

-- migrate:down
SELECT 1 / 0;  -- forward only
