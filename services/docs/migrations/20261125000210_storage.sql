-- migrate:up

-- How many bytes a tenant stores. Triggers keep it, so that what a cascade deletes is counted too.
ALTER TABLE docs.blobs ADD COLUMN size_bytes bigint NOT NULL GENERATED ALWAYS AS (octet_length(content)) STORED;

CREATE TABLE docs.storage (
  tenant_id uuid NOT NULL PRIMARY KEY,
  size_bytes bigint NOT NULL
);
ALTER TABLE docs.artifacts NO FORCE ROW LEVEL SECURITY;
ALTER TABLE docs.blobs NO FORCE ROW LEVEL SECURITY;
INSERT INTO docs.storage
SELECT tenant_id, sum(size_bytes) FROM (
  SELECT tenant_id, size_bytes FROM docs.artifacts UNION ALL SELECT tenant_id, size_bytes FROM docs.blobs
) AS stored GROUP BY tenant_id;
ALTER TABLE docs.artifacts FORCE ROW LEVEL SECURITY;
ALTER TABLE docs.blobs FORCE ROW LEVEL SECURITY;

ALTER TABLE docs.storage ENABLE ROW LEVEL SECURITY;
ALTER TABLE docs.storage FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON docs.storage TO docs_app
  USING (tenant_id = (SELECT kernel.tenant_id())) WITH CHECK (tenant_id = (SELECT kernel.tenant_id()));
CREATE POLICY accountant ON docs.storage TO docs_accountant USING (true) WITH CHECK (true);
COMMENT ON POLICY accountant ON docs.storage IS
  'declared: its triggers add to and take from the tenant of the rows that changed';
GRANT SELECT ON docs.storage TO docs_app;
GRANT SELECT, INSERT, UPDATE ON docs.storage TO docs_accountant;

CREATE FUNCTION docs.add_storage() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  INSERT INTO docs.storage AS s (tenant_id, size_bytes)
  SELECT tenant_id, sum(size_bytes) FROM added GROUP BY tenant_id ORDER BY tenant_id
  ON CONFLICT (tenant_id) DO UPDATE SET size_bytes = s.size_bytes + excluded.size_bytes;
  RETURN NULL;
END $$;

CREATE FUNCTION docs.take_storage() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  UPDATE docs.storage AS s SET size_bytes = s.size_bytes - r.size_bytes
  FROM (SELECT tenant_id, sum(size_bytes) AS size_bytes FROM removed GROUP BY tenant_id) AS r
  WHERE s.tenant_id = r.tenant_id;
  RETURN NULL;
END $$;

REVOKE ALL ON FUNCTION docs.add_storage(), docs.take_storage() FROM PUBLIC;
ALTER FUNCTION docs.add_storage() OWNER TO docs_accountant;
ALTER FUNCTION docs.take_storage() OWNER TO docs_accountant;

DO $$
DECLARE name text;
BEGIN
  FOREACH name IN ARRAY ARRAY['artifacts', 'blobs'] LOOP
    EXECUTE format('CREATE TRIGGER add_storage AFTER INSERT ON docs.%I REFERENCING NEW TABLE AS added '
                   'FOR EACH STATEMENT EXECUTE FUNCTION docs.add_storage()', name);
    EXECUTE format('CREATE TRIGGER take_storage AFTER DELETE ON docs.%I REFERENCING OLD TABLE AS removed '
                   'FOR EACH STATEMENT EXECUTE FUNCTION docs.take_storage()', name);
  END LOOP;
END $$;

-- migrate:down
SELECT 1 / 0;  -- forward only
