-- migrate:up

-- A letter's name in the API, behind deadLetters/.
CREATE FUNCTION letter_id(consumer text, message_id uuid) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$ SELECT consumer || '.' || message_id $$;

DO $$
DECLARE
  services CONSTANT text[] := ARRAY['gateway', 'orchestrator', 'docs', 'faqgen', 'codegen', 'tenancy'];
  seen CONSTANT text := 'tenant_id, message_id, consumer, type, reason, error, deliveries, trace_id, buried_at, state, '
                        'decided_at, decided_by, why';
BEGIN
  EXECUTE 'CREATE VIEW letters WITH (security_invoker = true) AS ' || (
    SELECT string_agg(format('SELECT %L AS service, %s, headers, body FROM %I.dead_letters', s, seen, s), ' UNION ALL ')
    FROM unnest(services) AS s);
  EXECUTE 'CREATE VIEW letters_of_all WITH (security_invoker = true) AS ' || (
    SELECT string_agg(format('SELECT %L AS service, %s FROM %I.dead_letters', s, seen, s), ' UNION ALL ')
    FROM unnest(services) AS s);
END $$;
GRANT SELECT ON letters TO tenancy_postmaster;
GRANT SELECT ON letters_of_all TO tenancy_registrar;

CREATE TYPE letter AS (
  service text, tenant_id uuid, message_id uuid, consumer text, type text, reason text, error text, deliveries integer,
  trace_id text, buried_at timestamptz, state text, decided_at timestamptz, decided_by text, why text, headers jsonb, body bytea
);

-- The session's own, newest first, behind a place; in a list without what they say. An empty filter filters nothing.
CREATE FUNCTION list_dead_letters(
  in_service text, in_state text, before_time timestamptz, before_letter text, most integer
) RETURNS SETOF letter LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM tenancy.held_scopes('audit.read');
  RETURN QUERY SELECT l.service, l.tenant_id, l.message_id, l.consumer, l.type, l.reason, l.error, l.deliveries,
      l.trace_id, l.buried_at, l.state, l.decided_at, l.decided_by, l.why, l.headers, ''::bytea
    FROM tenancy.letters AS l
    WHERE l.tenant_id = kernel.tenant_id() AND in_service IN ('', l.service) AND in_state IN ('', l.state)
      AND (before_time IS NULL OR (l.buried_at, tenancy.letter_id(l.consumer, l.message_id) COLLATE "C") < (before_time, before_letter))
    ORDER BY l.buried_at DESC, tenancy.letter_id(l.consumer, l.message_id) COLLATE "C" DESC LIMIT most;
END $$;

CREATE FUNCTION get_dead_letter(of_consumer text, of_message_id uuid) RETURNS SETOF letter
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  RETURN QUERY SELECT l.service, l.tenant_id, l.message_id, l.consumer, l.type, l.reason, l.error, l.deliveries,
      l.trace_id, l.buried_at, l.state, l.decided_at, l.decided_by, l.why, l.headers, l.body
    FROM tenancy.letters AS l
    WHERE l.tenant_id = kernel.tenant_id() AND l.consumer = of_consumer AND l.message_id = of_message_id;
END $$;

-- Has the message delivered again to the service that buried it, by its sender's outbox and under its own seal. Says
-- 'replayed', or why not: 'missing', 'dropped', 'received', 'forgotten' by its sender, or 'ended' as its seal has.
CREATE FUNCTION replay_dead_letter(of_consumer text, of_message_id uuid) RETURNS text
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  own CONSTANT uuid := kernel.tenant_id();
  presented CONSTANT text := current_setting('morningai.proof', true);
  receiver text := split_part(of_consumer, '-', 1);
  sender text;
  found record;
  sent record;
  received boolean;
BEGIN
  PERFORM tenancy.held_scopes('tasks.write');
  IF receiver <> ALL (ARRAY['gateway', 'orchestrator', 'docs', 'faqgen', 'codegen', 'tenancy']) THEN RETURN 'missing'; END IF;
  EXECUTE format('SELECT state, reason, trace_id FROM %I.dead_letters '
                 'WHERE tenant_id = $1 AND message_id = $2 AND consumer = $3 FOR UPDATE', receiver)
    INTO found USING own, of_message_id, of_consumer;
  IF found.state IS NULL THEN RETURN 'missing'; END IF;
  IF found.state <> 'buried' THEN RETURN found.state; END IF;
  EXECUTE format('SELECT EXISTS (SELECT FROM %I.inbox WHERE tenant_id = $1 AND message_id = $2)', receiver)
    INTO received USING own, of_message_id;
  IF received THEN RETURN 'received'; END IF;
  FOREACH sender IN ARRAY ARRAY['gateway', 'orchestrator', 'docs', 'faqgen', 'codegen', 'tenancy'] LOOP
    EXECUTE format('SELECT task_id, subject FROM %I.outbox WHERE tenant_id = $1 AND id = $2', sender)
      INTO sent USING own, of_message_id;
    EXIT WHEN sent.task_id IS NOT NULL;
  END LOOP;
  IF sent.task_id IS NULL THEN RETURN 'forgotten'; END IF;
  IF NOT kernel.seal_is_in_time((CASE WHEN sent.subject LIKE 'morningai.event.%' THEN 'f' ELSE 's' END,
                                 own, '', '{}', sent.task_id, of_message_id)::kernel.proof) THEN
    RETURN 'ended';
  END IF;
  EXECUTE format('UPDATE %I.dead_letters SET state = ''replayed'', decided_at = now(), decided_by = $4, why = '''' '
                 'WHERE tenant_id = $1 AND message_id = $2 AND consumer = $3', receiver)
    USING own, of_message_id, of_consumer, (kernel.current_proof()).principal;
  PERFORM tenancy.record('dead_letters.replay', 'deadLetters/' || tenancy.letter_id(of_consumer, of_message_id),
    jsonb_build_object('reason', found.reason, 'trace_id', found.trace_id));
  -- Outside the session: in it the seal would be made for who replays, and not for who asked for the task.
  PERFORM set_config('morningai.proof', '', true);
  EXECUTE format('UPDATE %I.outbox SET published_at = NULL, due_at = now() '
                 'WHERE tenant_id = $1 AND id = $2 AND published_at IS NOT NULL', sender) USING own, of_message_id;
  PERFORM set_config('morningai.proof', presented, true), pg_notify('outbox_' || sender, '');
  RETURN 'replayed';
END $$;

-- Says 'dropped', or why not: 'missing', or 'replayed'.
CREATE FUNCTION drop_dead_letter(of_consumer text, of_message_id uuid, because text) RETURNS text
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  own CONSTANT uuid := kernel.tenant_id();
  receiver text := split_part(of_consumer, '-', 1);
  found record;
BEGIN
  PERFORM tenancy.held_scopes('tasks.write');
  IF receiver <> ALL (ARRAY['gateway', 'orchestrator', 'docs', 'faqgen', 'codegen', 'tenancy']) THEN RETURN 'missing'; END IF;
  EXECUTE format('SELECT state, reason, trace_id FROM %I.dead_letters '
                 'WHERE tenant_id = $1 AND message_id = $2 AND consumer = $3 FOR UPDATE', receiver)
    INTO found USING own, of_message_id, of_consumer;
  IF found.state IS NULL THEN RETURN 'missing'; END IF;
  IF found.state <> 'buried' THEN RETURN found.state; END IF;
  EXECUTE format('UPDATE %I.dead_letters SET state = ''dropped'', decided_at = now(), decided_by = $4, why = $5 '
                 'WHERE tenant_id = $1 AND message_id = $2 AND consumer = $3', receiver)
    USING own, of_message_id, of_consumer, (kernel.current_proof()).principal, because;
  PERFORM tenancy.record('dead_letters.drop', 'deadLetters/' || tenancy.letter_id(of_consumer, of_message_id),
    jsonb_build_object('reason', found.reason, 'trace_id', found.trace_id, 'why', because));
  RETURN 'dropped';
END $$;

-- Of all tenants and of none, without what they say; what went wrong with a tenant's message may quote it.
CREATE FUNCTION list_all_dead_letters(
  in_service text, in_state text, quarantined boolean, before_time timestamptz, before_letter text, most integer
) RETURNS SETOF letter LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE nobody CONSTANT uuid := '00000000-0000-0000-0000-000000000000';
BEGIN
  PERFORM tenancy.held_scopes('operator');
  RETURN QUERY SELECT l.service, l.tenant_id, l.message_id, l.consumer, l.type, l.reason,
      CASE WHEN l.tenant_id = nobody THEN l.error ELSE '' END, l.deliveries,
      l.trace_id, l.buried_at, l.state, l.decided_at, l.decided_by,
      CASE WHEN l.tenant_id = nobody THEN l.why ELSE '' END, '{}'::jsonb, ''::bytea
    FROM tenancy.letters_of_all AS l
    WHERE in_service IN ('', l.service) AND in_state IN ('', l.state) AND (NOT quarantined OR l.tenant_id = nobody)
      AND (before_time IS NULL OR (l.buried_at, tenancy.letter_id(l.consumer, l.message_id) COLLATE "C") < (before_time, before_letter))
    ORDER BY l.buried_at DESC, tenancy.letter_id(l.consumer, l.message_id) COLLATE "C" DESC LIMIT most;
END $$;

-- Of a message that proves no tenant. Says 'dropped' or 'missing'.
CREATE FUNCTION drop_quarantined_letter(of_consumer text, of_message_id uuid, because text) RETURNS text
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  nobody CONSTANT uuid := '00000000-0000-0000-0000-000000000000';
  receiver text := split_part(of_consumer, '-', 1);
  who text := (kernel.current_proof()).principal;
  found record;
BEGIN
  PERFORM tenancy.held_scopes('operator');
  IF receiver <> ALL (ARRAY['gateway', 'orchestrator', 'docs', 'faqgen', 'codegen', 'tenancy']) THEN RETURN 'missing'; END IF;
  EXECUTE format('SELECT state, reason, trace_id FROM %I.dead_letters '
                 'WHERE tenant_id = $1 AND message_id = $2 AND consumer = $3 FOR UPDATE', receiver)
    INTO found USING nobody, of_message_id, of_consumer;
  IF found.state IS NULL THEN RETURN 'missing'; END IF;
  IF found.state = 'dropped' THEN RETURN 'dropped'; END IF;
  EXECUTE format('UPDATE %I.dead_letters SET state = ''dropped'', decided_at = now(), decided_by = $4, why = $5 '
                 'WHERE tenant_id = $1 AND message_id = $2 AND consumer = $3', receiver)
    USING nobody, of_message_id, of_consumer, who, because;
  INSERT INTO tenancy.operator_log (principal, action, resource, details, trace_id)
  VALUES (who, 'dead_letters.drop', 'deadLetters/' || tenancy.letter_id(of_consumer, of_message_id),
          jsonb_build_object('reason', found.reason, 'trace_id', found.trace_id, 'why', because),
          coalesce(substring(current_setting('morningai.trace_id', true) FROM '^[0-9a-f]{32}$'), ''));
  RETURN 'dropped';
END $$;

DO $$
DECLARE
  signature text;
  of_tenants CONSTANT text[] := ARRAY[
    'list_dead_letters(text, text, timestamptz, text, integer)', 'get_dead_letter(text, uuid)',
    'replay_dead_letter(text, uuid)', 'drop_dead_letter(text, uuid, text)'];
  of_operators CONSTANT text[] := ARRAY[
    'list_all_dead_letters(text, text, boolean, timestamptz, text, integer)', 'drop_quarantined_letter(text, uuid, text)'];
BEGIN
  FOREACH signature IN ARRAY of_tenants || of_operators LOOP
    EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', signature);
    EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO tenancy_app', signature);
    EXECUTE format('ALTER FUNCTION %s OWNER TO %s', signature,
                   CASE WHEN signature = ANY (of_tenants) THEN 'tenancy_postmaster' ELSE 'tenancy_registrar' END);
  END LOOP;
END $$;
GRANT EXECUTE ON FUNCTION held_scopes(text), record(text, text, jsonb, text) TO tenancy_postmaster;

-- migrate:down
SELECT 1 / 0;  -- forward only
