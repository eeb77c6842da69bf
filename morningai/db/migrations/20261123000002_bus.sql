-- migrate:up

-- The same four tables in every service's schema: what came in, what goes out, who works, what could not be handled.
DO $$
DECLARE
  service text;
  app text;
  own text := 'tenant_id = (SELECT kernel.tenant_id())';
  quarantine text := '00000000-0000-0000-0000-000000000000';
  name text;
BEGIN
  FOREACH service IN ARRAY ARRAY['gateway', 'orchestrator', 'docs', 'faqgen', 'codegen', 'tenancy'] LOOP
    app := service || '_app';
    EXECUTE format('SET LOCAL search_path = %I', service);

    CREATE TABLE inbox (
      tenant_id uuid NOT NULL DEFAULT kernel.tenant_id(),
      message_id uuid NOT NULL,
      consumer text NOT NULL,
      type text NOT NULL,
      received_at timestamptz NOT NULL DEFAULT now(),
      PRIMARY KEY (tenant_id, message_id, consumer)
    );

    CREATE TABLE outbox (
      tenant_id uuid NOT NULL DEFAULT kernel.tenant_id(),
      id uuid NOT NULL DEFAULT uuidv7(),
      task_id uuid NOT NULL,
      type text NOT NULL,
      subject text NOT NULL,
      body bytea NOT NULL,
      traceparent text NOT NULL,
      causation_id uuid,
      work_id uuid,
      seal text NOT NULL DEFAULT '',
      created_at timestamptz NOT NULL DEFAULT now(),
      due_at timestamptz NOT NULL DEFAULT now(),
      published_at timestamptz,
      PRIMARY KEY (tenant_id, id)
    );
    CREATE INDEX outbox_due ON outbox (due_at, id) WHERE published_at IS NULL;
    CREATE INDEX outbox_replies ON outbox (tenant_id, causation_id);
    CREATE TRIGGER seal BEFORE INSERT ON outbox FOR EACH ROW EXECUTE FUNCTION kernel.seal_outbox();

    CREATE TABLE leases (
      tenant_id uuid NOT NULL DEFAULT kernel.tenant_id(),
      work_id uuid NOT NULL,
      task_id uuid NOT NULL,
      attempt integer NOT NULL CHECK (attempt > 0),
      state text NOT NULL CHECK (state IN ('running', 'finished', 'cancelled')),
      worker text NOT NULL,
      timer_id uuid NOT NULL,
      expires_at timestamptz NOT NULL,
      cancel_requested boolean NOT NULL DEFAULT false,
      progress real NOT NULL DEFAULT 0,
      detail text NOT NULL DEFAULT '',
      updated_at timestamptz NOT NULL DEFAULT now(),
      PRIMARY KEY (tenant_id, work_id)
    );
    CREATE INDEX leases_of_task ON leases (tenant_id, task_id);

    CREATE TABLE dead_letters (
      tenant_id uuid NOT NULL DEFAULT kernel.tenant_id(),
      message_id uuid NOT NULL,
      consumer text NOT NULL,
      type text NOT NULL,
      subject text NOT NULL,
      headers jsonb NOT NULL,
      body bytea NOT NULL,
      reason text NOT NULL,
      error text NOT NULL,
      deliveries integer NOT NULL,
      trace_id text NOT NULL,
      buried_at timestamptz NOT NULL DEFAULT now(),
      PRIMARY KEY (tenant_id, message_id, consumer)
    );

    FOREACH name IN ARRAY ARRAY['inbox', 'outbox', 'leases', 'dead_letters'] LOOP
      EXECUTE format('ALTER TABLE %I OWNER TO %I', name, service || '_owner');
      EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
      EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
    END LOOP;

    -- A seal opens the inbox for its own message alone.
    EXECUTE format('CREATE POLICY tenant ON inbox TO %I USING (%s) WITH CHECK (%s AND message_id = (SELECT kernel.message_id()))', app, own, own);
    EXECUTE format('CREATE POLICY tenant ON outbox TO %I USING (%s) WITH CHECK (%s)', app, own, own);
    EXECUTE format('CREATE POLICY tenant ON leases TO %I USING (%s) WITH CHECK (%s)', app, own, own);
    EXECUTE format('CREATE POLICY tenant ON dead_letters TO %I USING (%s) WITH CHECK (%s)', app, own, own);
    EXECUTE format('CREATE POLICY quarantine ON dead_letters FOR INSERT TO %I WITH CHECK (tenant_id = %L)', app, quarantine);
    COMMENT ON POLICY quarantine ON dead_letters IS 'declared: a message whose proof is not valid belongs to no tenant; only an operator sees it';

    EXECUTE format('CREATE POLICY relay_read ON outbox FOR SELECT TO %I USING (true)', service || '_relay');
    EXECUTE format('CREATE POLICY relay_mark ON outbox FOR UPDATE TO %I USING (true) WITH CHECK (true)', service || '_relay');
    COMMENT ON POLICY relay_read ON outbox IS 'declared: the relay publishes the messages of all tenants';
    COMMENT ON POLICY relay_mark ON outbox IS 'declared: the relay marks published messages; its column grant is published_at alone';

    EXECUTE format('GRANT SELECT, INSERT ON inbox TO %I', app);
    EXECUTE format('GRANT SELECT, INSERT, UPDATE (due_at, published_at) ON outbox TO %I', app);
    EXECUTE format('GRANT SELECT, INSERT, UPDATE ON leases TO %I', app);
    EXECUTE format('GRANT SELECT, INSERT ON dead_letters TO %I', app);
    EXECUTE format('GRANT SELECT, UPDATE (published_at) ON outbox TO %I', service || '_relay');
  END LOOP;
  SET LOCAL search_path = public;
END $$;

-- migrate:down
SELECT 1 / 0;  -- forward only
