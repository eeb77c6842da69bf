-- migrate:up

-- Patches that codegen has verified and that may be pushed. A push names the hash of its patch.
CREATE TABLE patches (
  tenant_id uuid NOT NULL DEFAULT kernel.tenant_id(),
  change text NOT NULL,
  task_id uuid NOT NULL,
  patch_hash text NOT NULL,
  patch text NOT NULL,
  received_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant_id, change),
  CHECK (patch_hash = encode(sha256(convert_to(patch, 'UTF8')), 'hex'))
);
ALTER TABLE patches ENABLE ROW LEVEL SECURITY;
ALTER TABLE patches FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON patches TO docs_app
  USING (tenant_id = (SELECT kernel.tenant_id())) WITH CHECK (tenant_id = (SELECT kernel.tenant_id()));
GRANT SELECT, INSERT ON patches TO docs_app;

CREATE POLICY janitor_read ON patches FOR SELECT TO docs_janitor USING (true);
CREATE POLICY janitor ON patches FOR DELETE TO docs_janitor USING (received_at < now() - interval '1 hour');
COMMENT ON POLICY janitor_read ON patches IS 'declared: what of all tenants is over';
COMMENT ON POLICY janitor ON patches IS 'declared: patches of tasks of all tenants that have ended';
GRANT SELECT (tenant_id, change, task_id, received_at), DELETE ON patches TO docs_janitor;
CREATE INDEX patches_received ON patches (received_at);

CREATE FUNCTION sweep_patches(kept interval, most integer) RETURNS bigint
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = docs, pg_catalog, pg_temp AS $$
  WITH over AS (
    SELECT p.tenant_id, p.change FROM patches AS p
    WHERE p.received_at < now() - kept
      AND NOT EXISTS (SELECT FROM kernel.tasks AS k WHERE k.tenant_id = p.tenant_id AND k.task_id = p.task_id
                        AND (k.closed_at IS NULL OR k.closed_at >= now() - kept))
    ORDER BY p.received_at LIMIT most
  ), deleted AS (
    DELETE FROM patches AS p USING over WHERE p.tenant_id = over.tenant_id AND p.change = over.change RETURNING 1
  )
  SELECT count(*) FROM deleted
$$;

REVOKE ALL ON FUNCTION sweep_patches(interval, integer) FROM PUBLIC;
ALTER FUNCTION sweep_patches(interval, integer) OWNER TO docs_janitor;
SET LOCAL ROLE docs_janitor;
GRANT EXECUTE ON FUNCTION sweep_patches(interval, integer) TO docs_relay;
SET LOCAL ROLE docs_owner;

-- migrate:down
SELECT 1 / 0;  -- forward only
