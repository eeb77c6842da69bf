-- migrate:up

-- What open_session verified is verified again by nobody in its transaction: beside the tenant's mark it leaves one of
-- the whole proof. That is a digest, because whoever may set the setting chooses its text; 64 bits of it are far out of
-- reach of a search in the time of one transaction.
CREATE UNLOGGED SEQUENCE kernel.proof_mark MINVALUE -9223372036854775808 START 0;
ALTER SEQUENCE kernel.proof_mark OWNER TO kernel_owner;
GRANT USAGE, UPDATE ON SEQUENCE kernel.proof_mark TO kernel_prover;

CREATE OR REPLACE FUNCTION kernel.open_session(presented text) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE proof kernel.proof;
BEGIN
  PERFORM set_config('morningai.proof', presented, true),
    setval('kernel.session_mark',
      uuid_hash_extended(split_part(presented, '|', 3)::uuid, timestamp_hash_extended(now()::timestamp, 0))),
    setval('kernel.proof_mark',
      substring(sha256(timestamptz_send(now()) || convert_to(presented, 'UTF8')) FOR 8)::bigint)
  FROM kernel.proof_keys AS k
  WHERE k.key_id = split_part(presented, '|', 1) AND k.retired_at IS NULL
    AND CASE WHEN split_part(presented, '|', 2) <> 'g' THEN false
             WHEN encode(sha256(k.outer_pad || sha256(k.inner_pad || convert_to(left(presented, -65), 'UTF8'))), 'hex')
                  = split_part(presented, '|', 7)
             THEN split_part(presented, '|', 6)::bigint > extract(epoch FROM statement_timestamp())
             ELSE false END;
  IF FOUND THEN RETURN; END IF;

  proof := kernel.verify(presented);
  IF proof.tenant_id IS NOT NULL THEN
    PERFORM set_config('morningai.proof', presented, true),
      setval('kernel.session_mark', uuid_hash_extended(proof.tenant_id, timestamp_hash_extended(now()::timestamp, 0))),
      setval('kernel.proof_mark',
        substring(sha256(timestamptz_send(now()) || convert_to(presented, 'UTF8')) FOR 8)::bigint);
    RETURN;
  END IF;
  proof := kernel.authentic(presented);
  IF proof.tenant_id IS NOT NULL THEN
    RAISE EXCEPTION 'task % has ended, and its seals with it', proof.task_id
      USING ERRCODE = 'object_not_in_prerequisite_state';
  END IF;
  RAISE EXCEPTION 'the proof is missing, forged or expired' USING ERRCODE = 'insufficient_privilege';
EXCEPTION WHEN data_exception THEN
  RAISE EXCEPTION 'the proof is missing, forged or expired' USING ERRCODE = 'insufficient_privilege';
END $$;

-- A proof that open_session did not open in this transaction is verified here.
CREATE OR REPLACE FUNCTION kernel.current_proof() RETURNS kernel.proof
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  presented text := nullif(current_setting('morningai.proof', true), '');
  opened boolean;
  part text[];
BEGIN
  BEGIN
    opened := currval('kernel.proof_mark')
      = substring(sha256(timestamptz_send(now()) || convert_to(presented, 'UTF8')) FOR 8)::bigint;
  EXCEPTION WHEN object_not_in_prerequisite_state THEN
    opened := false;  -- no session was opened on this connection yet
  END;
  IF opened THEN
    part := string_to_array(presented, '|');
    RETURN CASE WHEN part[2] = 'g' THEN ('g', part[3]::uuid, part[4], string_to_array(part[5], ','), NULL, NULL)::kernel.proof
                ELSE (part[2], part[3]::uuid, part[4], string_to_array(part[5], ','), part[6]::uuid, part[7]::uuid)::kernel.proof
           END;
  END IF;
  RETURN kernel.verify(presented);
END $$;

CREATE OR REPLACE FUNCTION kernel.mint_seal(kind text, proof kernel.proof, task uuid, message uuid) RETURNS text
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT signed || '|' || encode(sha256(k.outer_pad || sha256(k.inner_pad || convert_to(signed, 'UTF8'))), 'hex')
  FROM kernel.proof_keys AS k, LATERAL (
    SELECT concat_ws('|', k.key_id, kind, (proof).tenant_id, kernel.checked((proof).principal, (proof).scopes), task, message)
      AS signed) AS s
  WHERE k.minting
$$;

-- As before; what only a schedule's session needs is not looked up for the others.
CREATE OR REPLACE FUNCTION kernel.seal_outbox() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  proof kernel.proof := kernel.current_proof();
  part text[];
  schedule uuid;
  accepted boolean;
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
  IF proof.kind = 'g' AND session_user = 'gateway_app' THEN
    INSERT INTO kernel.tasks (tenant_id, task_id, principal) VALUES (proof.tenant_id, NEW.task_id, proof.principal)
    ON CONFLICT DO NOTHING;
  END IF;
  SELECT schedule_id INTO schedule FROM kernel.tasks WHERE tenant_id = proof.tenant_id AND task_id = NEW.task_id;
  accepted := FOUND;
  IF proof.kind IN ('s', 'f') AND NEW.task_id IS DISTINCT FROM proof.task_id AND schedule IS DISTINCT FROM proof.task_id THEN
    RAISE EXCEPTION 'a message of task % cannot be sent in a session of task %', NEW.task_id, proof.task_id
      USING ERRCODE = 'insufficient_privilege';
  END IF;
  IF NOT accepted THEN
    RAISE EXCEPTION 'task % was never accepted', NEW.task_id USING ERRCODE = 'insufficient_privilege';
  END IF;
  IF schedule = proof.task_id THEN
    IF NOT tenancy.principal_may('tasks.write') THEN
      RAISE EXCEPTION 'whom schedule % acts for may not ask for tasks', schedule USING ERRCODE = 'insufficient_privilege';
    END IF;
  END IF;
  NEW.tenant_id := proof.tenant_id;
  NEW.seal := kernel.mint_seal(CASE WHEN NEW.subject LIKE 'morningai.event.%' THEN 'f' ELSE 's' END, proof, NEW.task_id, NEW.id);
  RETURN NEW;
END $$;

-- Led by the tenant, it was taken for the key of a row by plans from when the table was empty, and read all of a tenant's.
DO $$
DECLARE service text;
BEGIN
  FOREACH service IN ARRAY ARRAY['gateway', 'orchestrator', 'docs', 'faqgen', 'codegen', 'tenancy'] LOOP
    EXECUTE format('DROP INDEX %I.outbox_replies', service);
    EXECUTE format('CREATE INDEX outbox_replies ON %I.outbox (causation_id) WHERE causation_id IS NOT NULL', service);
  END LOOP;
END $$;

-- migrate:down
SELECT 1 / 0;  -- forward only
