-- migrate:up

CREATE ROLE kernel_courier NOLOGIN;  -- owns the sending again of what the bus has lost
GRANT USAGE ON SCHEMA kernel TO kernel_courier;
GRANT EXECUTE ON FUNCTION kernel.tenant_id() TO kernel_courier;

-- The bus keeps nothing that is not here: when it lost its streams, what its receivers have not seen is sent again.
CREATE TABLE kernel.bus (
  one boolean PRIMARY KEY DEFAULT true CHECK (one),
  made_at timestamptz NOT NULL
);
COMMENT ON TABLE kernel.bus IS 'global: when the newest stream was made whose forerunner''s messages were sent again';
ALTER TABLE kernel.bus OWNER TO kernel_owner;
ALTER TABLE kernel.bus ENABLE ROW LEVEL SECURITY;
ALTER TABLE kernel.bus FORCE ROW LEVEL SECURITY;
CREATE POLICY courier ON kernel.bus TO kernel_courier USING (true) WITH CHECK (true);
COMMENT ON POLICY courier ON kernel.bus IS 'declared: the bus belongs to no tenant';
GRANT SELECT, INSERT, UPDATE ON kernel.bus TO kernel_courier;

CREATE POLICY courier ON kernel.tasks FOR SELECT TO kernel_courier USING (true);
COMMENT ON POLICY courier ON kernel.tasks IS 'declared: whether a lost command is of an open task';
GRANT SELECT (tenant_id, task_id, closed_at) ON kernel.tasks TO kernel_courier;

DO $$
DECLARE service text;
BEGIN
  FOREACH service IN ARRAY ARRAY['gateway', 'orchestrator', 'docs', 'faqgen', 'codegen', 'tenancy'] LOOP
    EXECUTE format('GRANT USAGE ON SCHEMA %I TO kernel_courier', service);
    EXECUTE format('CREATE POLICY courier_read ON %I.outbox FOR SELECT TO kernel_courier USING (true)', service);
    EXECUTE format('CREATE POLICY courier_mark ON %I.outbox FOR UPDATE TO kernel_courier USING (true) WITH CHECK (true)', service);
    EXECUTE format('CREATE POLICY courier ON %I.inbox FOR SELECT TO kernel_courier USING (true)', service);
    EXECUTE format('CREATE POLICY courier ON %I.dead_letters FOR SELECT TO kernel_courier USING (true)', service);
    EXECUTE format('COMMENT ON POLICY courier_read ON %I.outbox IS %L', service, 'declared: what of all tenants was sent');
    EXECUTE format('COMMENT ON POLICY courier_mark ON %I.outbox IS %L', service,
                   'declared: what of all tenants was lost is sent again; its column grant is the times alone');
    EXECUTE format('COMMENT ON POLICY courier ON %I.inbox IS %L', service, 'declared: what of all tenants was received');
    EXECUTE format('COMMENT ON POLICY courier ON %I.dead_letters IS %L', service, 'declared: what of all tenants was received');
    EXECUTE format('GRANT SELECT (tenant_id, id, task_id, type, subject, due_at, published_at), UPDATE (due_at, published_at) '
                   'ON %I.outbox TO kernel_courier', service);
    EXECUTE format('GRANT SELECT (tenant_id, message_id) ON %I.inbox, %I.dead_letters TO kernel_courier', service, service);
  END LOOP;
END $$;

-- As before. The courier, who has no session, sends under the seal that the row has, made again with today's key.
CREATE OR REPLACE FUNCTION kernel.seal_outbox() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  proof kernel.proof := kernel.current_proof();
  part text[];
BEGIN
  IF proof.tenant_id IS NULL AND TG_OP = 'UPDATE' AND session_user = 'tenancy_app' THEN
    part := string_to_array(OLD.seal, '|');
    proof := (part[2], part[3]::uuid, part[4], string_to_array(part[5], ','), part[6]::uuid, part[7]::uuid)::kernel.proof;
    NEW.seal := kernel.mint_seal(part[2], proof, OLD.task_id, OLD.id);
    RETURN NEW;
  END IF;
  IF proof.tenant_id IS NULL THEN
    RAISE EXCEPTION 'no verified session' USING ERRCODE = 'insufficient_privilege';
  END IF;
  IF proof.kind IN ('s', 'f') AND NEW.task_id IS DISTINCT FROM proof.task_id THEN
    RAISE EXCEPTION 'a message of task % cannot be sent in a session of task %', NEW.task_id, proof.task_id
      USING ERRCODE = 'insufficient_privilege';
  END IF;
  IF proof.kind = 'g' AND session_user = 'gateway_app' THEN
    INSERT INTO kernel.tasks (tenant_id, task_id, principal) VALUES (proof.tenant_id, NEW.task_id, proof.principal)
    ON CONFLICT DO NOTHING;
  END IF;
  IF NOT EXISTS (SELECT FROM kernel.tasks WHERE tenant_id = proof.tenant_id AND task_id = NEW.task_id) THEN
    RAISE EXCEPTION 'task % was never accepted', NEW.task_id USING ERRCODE = 'insufficient_privilege';
  END IF;
  NEW.tenant_id := proof.tenant_id;
  NEW.seal := kernel.mint_seal(CASE WHEN NEW.subject LIKE 'morningai.event.%' THEN 'f' ELSE 's' END, proof, NEW.task_id, NEW.id);
  RETURN NEW;
END $$;

-- How many messages were sent again, or NULL when this bus was looked after before. Rows of the arrays say who
-- receives which messages of whom: by type, and commands by their subject. Of a task that has ended only facts matter.
CREATE FUNCTION kernel.resend_lost(
  bus_made_at timestamptz, producers text[], message_types text[], message_subjects text[], receivers text[]
) RETURNS bigint LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  services CONSTANT text[] := ARRAY['gateway', 'orchestrator', 'docs', 'faqgen', 'codegen', 'tenancy'];
  pair record;
  sent bigint;
  total bigint := 0;
BEGIN
  IF kernel.tenant_id() IS NOT NULL THEN
    RAISE EXCEPTION 'a tenant''s session sends nothing of others' USING ERRCODE = 'insufficient_privilege';
  END IF;
  -- Never a time to come: it would keep the losses until then from being looked after.
  INSERT INTO kernel.bus (made_at) VALUES (least(bus_made_at, statement_timestamp()))
  ON CONFLICT (one) DO UPDATE SET made_at = excluded.made_at WHERE bus.made_at < excluded.made_at;
  IF NOT FOUND THEN RETURN NULL; END IF;
  FOR pair IN
    SELECT DISTINCT producer, receiver FROM unnest(producers, receivers) AS p (producer, receiver)
    WHERE producer = ANY (services) AND receiver = ANY (services)
  LOOP
    EXECUTE format(
      'UPDATE %1$I.outbox AS o SET published_at = NULL, due_at = now() '
      'WHERE o.published_at >= o.due_at '  -- a timer that was withdrawn is marked before it is due
      'AND EXISTS (SELECT FROM unnest($1, $2, $3, $4) AS w (producer, type, subject, receiver) '
      '            WHERE w.producer = %1$L AND w.receiver = %2$L AND w.type = o.type AND w.subject IN ('''', o.subject)) '
      'AND NOT EXISTS (SELECT FROM %2$I.inbox AS i WHERE i.tenant_id = o.tenant_id AND i.message_id = o.id) '
      'AND NOT EXISTS (SELECT FROM %2$I.dead_letters AS d WHERE d.tenant_id = o.tenant_id AND d.message_id = o.id) '
      'AND (o.subject LIKE ''morningai.event.%%'' OR EXISTS (SELECT FROM kernel.tasks AS t '
      '     WHERE t.tenant_id = o.tenant_id AND t.task_id = o.task_id AND t.closed_at IS NULL))',
      pair.producer, pair.receiver) USING producers, message_types, message_subjects, receivers;
    GET DIAGNOSTICS sent = ROW_COUNT;
    total := total + sent;
    PERFORM pg_notify('outbox_' || pair.producer, '');
  END LOOP;
  RETURN total;
END $$;
REVOKE ALL ON FUNCTION kernel.resend_lost(timestamptz, text[], text[], text[], text[]) FROM PUBLIC;
GRANT CREATE ON SCHEMA kernel TO kernel_courier;
ALTER FUNCTION kernel.resend_lost(timestamptz, text[], text[], text[], text[]) OWNER TO kernel_courier;
REVOKE CREATE ON SCHEMA kernel FROM kernel_courier;
GRANT EXECUTE ON FUNCTION kernel.resend_lost(timestamptz, text[], text[], text[], text[]) TO tenancy_app;

-- migrate:down
SELECT 1 / 0;  -- forward only
