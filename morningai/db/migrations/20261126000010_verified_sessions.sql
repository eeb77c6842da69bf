-- migrate:up

-- A proof is verified once in a transaction, by open_session. It leaves a mark of the tenant and the transaction in the
-- session's own memory of a sequence (currval), which the prover alone can set. Unlogged, so that marking writes no WAL
-- and assigns no transaction ID.
CREATE UNLOGGED SEQUENCE kernel.session_mark MINVALUE -9223372036854775808 START 0;
ALTER SEQUENCE kernel.session_mark OWNER TO kernel_owner;
GRANT USAGE, UPDATE ON SEQUENCE kernel.session_mark TO kernel_prover;
GRANT EXECUTE ON FUNCTION kernel.open_session(text) TO tenancy_accountant, tenancy_registrar;

-- What every policy compares with. NULL, and so no row, in a transaction that open_session did not open, and for a proof
-- that is not of the tenant it was opened for. STABLE, never IMMUTABLE: an immutable function would be folded into a
-- cached plan and leak one tenant's rows to the next.
CREATE OR REPLACE FUNCTION kernel.tenant_id() RETURNS uuid
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE tenant uuid;
BEGIN
  tenant := split_part(current_setting('morningai.proof', true), '|', 3);
  IF currval('kernel.session_mark') = uuid_hash_extended(tenant, timestamp_hash_extended(now()::timestamp, 0)) THEN
    RETURN tenant;
  END IF;
  RETURN NULL;
EXCEPTION WHEN object_not_in_prerequisite_state OR invalid_text_representation THEN
  RETURN NULL;  -- no session was opened on this connection yet, or the setting names no tenant
END $$;

-- Verifies a grant and marks the session in one statement, because a transaction begins with it; a seal needs two.
CREATE OR REPLACE FUNCTION kernel.open_session(presented text) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE proof kernel.proof;
BEGIN
  PERFORM set_config('morningai.proof', presented, true),
    setval('kernel.session_mark',
      uuid_hash_extended(split_part(presented, '|', 3)::uuid, timestamp_hash_extended(now()::timestamp, 0)))
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
      setval('kernel.session_mark', uuid_hash_extended(proof.tenant_id, timestamp_hash_extended(now()::timestamp, 0)));
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

-- migrate:down
SELECT 1 / 0;  -- forward only
