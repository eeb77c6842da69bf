-- migrate:up

-- A key stops minting when another takes its place, and verifies no proof once it is retired. The keyed hashes of
-- API keys that were made with it stay good.
ALTER TABLE kernel.proof_keys ADD COLUMN replaced_at timestamptz, ADD COLUMN retired_at timestamptz,
  ADD CHECK (NOT (minting AND retired_at IS NOT NULL));

-- The tasks that seals belong to. A seal is good while its task is open; after that a command's for ten minutes, so
-- that what was cancelled can be tidied away, and a fact's for eight days, a day longer than the bus keeps it. No task
-- is open for longer than thirty days.
CREATE TABLE kernel.tasks (
  tenant_id uuid NOT NULL,
  task_id uuid NOT NULL,
  principal text NOT NULL,
  opened_at timestamptz NOT NULL DEFAULT now(),
  closed_at timestamptz,
  PRIMARY KEY (tenant_id, task_id)
);
CREATE INDEX tasks_open ON kernel.tasks (tenant_id, opened_at) WHERE closed_at IS NULL;
ALTER TABLE kernel.tasks OWNER TO kernel_owner;
ALTER TABLE kernel.tasks ENABLE ROW LEVEL SECURITY;
ALTER TABLE kernel.tasks FORCE ROW LEVEL SECURITY;
CREATE POLICY prover ON kernel.tasks TO kernel_prover USING (true) WITH CHECK (true);
COMMENT ON POLICY prover ON kernel.tasks IS 'declared: the functions that seal messages, verify seals and close tasks; no login may read it';
GRANT SELECT, INSERT, UPDATE ON kernel.tasks TO kernel_prover;

-- A proof whose MAC is right and whose key is not retired; a grant that has expired is none.
-- grant: key|g|tenant|principal|scopes|expiry|mac        seal of a command: key|s|tenant|principal|scopes|task|message|mac
--                                                        seal of a fact:    key|f|…
CREATE FUNCTION kernel.authentic(presented text) RETURNS kernel.proof
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  part text[] := string_to_array(presented, '|');
  count integer := coalesce(array_length(part, 1), 0);
  mac text;
BEGIN
  IF NOT (part[2] = 'g' AND count = 7 OR part[2] IN ('s', 'f') AND count = 8) THEN RETURN NULL; END IF;
  SELECT encode(sha256(k.outer_pad || sha256(k.inner_pad || convert_to(left(presented, -65), 'UTF8'))), 'hex') INTO mac
  FROM kernel.proof_keys AS k WHERE k.key_id = part[1] AND k.retired_at IS NULL;
  IF right(presented, 65) IS DISTINCT FROM '|' || mac THEN RETURN NULL; END IF;
  IF part[2] = 'g' THEN
    IF part[6]::bigint <= extract(epoch FROM statement_timestamp()) THEN RETURN NULL; END IF;
    RETURN ('g', part[3]::uuid, part[4], string_to_array(part[5], ','), NULL, NULL)::kernel.proof;
  END IF;
  RETURN (part[2], part[3]::uuid, part[4], string_to_array(part[5], ','), part[6]::uuid, part[7]::uuid)::kernel.proof;
END $$;

CREATE FUNCTION kernel.seal_is_in_time(proof kernel.proof) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT EXISTS (
    SELECT FROM kernel.tasks AS t
    WHERE t.tenant_id = (proof).tenant_id AND t.task_id = (proof).task_id
      AND coalesce(t.closed_at, t.opened_at) > statement_timestamp() - CASE
            WHEN t.closed_at IS NULL THEN interval '30 days'
            WHEN (proof).kind = 'f' THEN interval '8 days'
            ELSE interval '10 minutes' END)
$$;

CREATE OR REPLACE FUNCTION kernel.verify(presented text) RETURNS kernel.proof
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE proof kernel.proof := kernel.authentic(presented);
BEGIN
  IF proof.kind IN ('s', 'f') AND NOT kernel.seal_is_in_time(proof) THEN RETURN NULL; END IF;
  RETURN proof;
END $$;

-- What every policy compares with: `verify` again in one function, because it runs in every query. NULL, and so no row,
-- without a valid proof. STABLE, never IMMUTABLE: an immutable function would be folded into a cached plan and leak one
-- tenant's rows to the next.
CREATE OR REPLACE FUNCTION kernel.tenant_id() RETURNS uuid
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  presented text := current_setting('morningai.proof', true);
  part text[] := string_to_array(presented, '|');
  signed boolean;
BEGIN
  IF part[2] = 'g' THEN
    SELECT encode(sha256(k.outer_pad || sha256(k.inner_pad || convert_to(left(presented, -65), 'UTF8'))), 'hex') = part[7]
    INTO signed FROM kernel.proof_keys AS k WHERE k.key_id = part[1] AND k.retired_at IS NULL;
    IF signed AND part[6]::bigint > extract(epoch FROM statement_timestamp()) THEN RETURN part[3]::uuid; END IF;
    RETURN NULL;
  END IF;
  RETURN (kernel.verify(presented)).tenant_id;
END $$;

-- Opens the session of one transaction; the setting ends with it.
DROP FUNCTION kernel.open_session(text);
CREATE FUNCTION kernel.open_session(presented text) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE proof kernel.proof;
BEGIN
  PERFORM set_config('morningai.proof', presented, true);
  IF kernel.tenant_id() IS NOT NULL THEN RETURN; END IF;
  proof := kernel.authentic(presented);
  IF proof.tenant_id IS NOT NULL THEN
    RAISE EXCEPTION 'task % has ended, and its seals with it', proof.task_id
      USING ERRCODE = 'object_not_in_prerequisite_state';
  END IF;
  RAISE EXCEPTION 'the proof is missing, forged or expired' USING ERRCODE = 'insufficient_privilege';
END $$;

-- A part of a proof that held a separator could be read as two.
CREATE FUNCTION kernel.checked(principal text, scopes text[]) RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF principal ~ '[|]' OR array_to_string(scopes, ' ') ~ '[|,]' THEN
    RAISE EXCEPTION 'a principal or scope contains a separator' USING ERRCODE = 'invalid_parameter_value';
  END IF;
  RETURN concat_ws('|', principal, array_to_string(scopes, ','));
END $$;

CREATE OR REPLACE FUNCTION kernel.mint_grant(tenant uuid, principal text, scopes text[], lifetime interval DEFAULT '5 minutes')
RETURNS text LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT kernel.sign(concat_ws('|', 'g', tenant, kernel.checked(principal, scopes),
                               extract(epoch FROM statement_timestamp() + lifetime)::bigint))
$$;

CREATE FUNCTION kernel.mint_seal(kind text, proof kernel.proof, task uuid, message uuid) RETURNS text
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT kernel.sign(concat_ws('|', kind, (proof).tenant_id, kernel.checked((proof).principal, (proof).scopes), task, message))
$$;

-- The gateway alone opens tasks: any other service that meets a grant could keep the tenant open with a task of its
-- own. A message that is sent again gets a seal of today's key.
CREATE OR REPLACE FUNCTION kernel.seal_outbox() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE proof kernel.proof := kernel.current_proof();
BEGIN
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

-- The seals of the task end with it. For the orchestrator, which alone ends tasks.
CREATE FUNCTION kernel.close_task(ended uuid) RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  UPDATE kernel.tasks SET closed_at = statement_timestamp()
  WHERE tenant_id = kernel.tenant_id() AND task_id = ended AND closed_at IS NULL
$$;

DROP FUNCTION kernel.mint_seal(kernel.proof, uuid, uuid);

DO $$
DECLARE
  signature text;
  service text;
BEGIN
  GRANT CREATE ON SCHEMA kernel TO kernel_prover;
  FOREACH signature IN ARRAY ARRAY[
    'kernel.authentic(text)', 'kernel.seal_is_in_time(kernel.proof)', 'kernel.open_session(text)',
    'kernel.checked(text, text[])', 'kernel.mint_seal(text, kernel.proof, uuid, uuid)', 'kernel.close_task(uuid)'
  ] LOOP
    EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', signature);
    EXECUTE format('ALTER FUNCTION %s OWNER TO kernel_prover', signature);
  END LOOP;
  REVOKE CREATE ON SCHEMA kernel FROM kernel_prover;
  GRANT EXECUTE ON FUNCTION kernel.close_task(uuid) TO orchestrator_app;
  GRANT EXECUTE ON FUNCTION kernel.open_session(text) TO
    gateway_app, orchestrator_app, docs_app, faqgen_app, codegen_app, tenancy_app;
  FOREACH service IN ARRAY ARRAY['gateway', 'orchestrator', 'docs', 'faqgen', 'codegen', 'tenancy'] LOOP
    EXECUTE format('CREATE TRIGGER seal_again BEFORE UPDATE ON %I.outbox FOR EACH ROW '
                   'WHEN (OLD.published_at IS NOT NULL AND NEW.published_at IS NULL) EXECUTE FUNCTION kernel.seal_outbox()', service);
  END LOOP;
END $$;

-- With statistics the planner reads the one page of this table instead of its index, in every verification.
ANALYZE kernel.proof_keys;

-- migrate:down
SELECT 1 / 0;  -- forward only
