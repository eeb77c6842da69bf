-- migrate:up

-- Each tenant's data keys, wrapped by the key-encryption key of the settings; a tenant's credentials are sealed with them.
CREATE TABLE docs.data_keys (
  tenant_id uuid NOT NULL DEFAULT kernel.tenant_id(),
  data_key_id uuid NOT NULL,
  wrapped bytea NOT NULL,
  is_current boolean NOT NULL DEFAULT true,
  created_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant_id, data_key_id)
);
CREATE UNIQUE INDEX data_keys_current ON docs.data_keys (tenant_id) WHERE is_current;
ALTER TABLE docs.data_keys ENABLE ROW LEVEL SECURITY;
ALTER TABLE docs.data_keys FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON docs.data_keys TO docs_app
  USING (tenant_id = (SELECT kernel.tenant_id())) WITH CHECK (tenant_id = (SELECT kernel.tenant_id()));
GRANT SELECT, INSERT ON docs.data_keys TO docs_app;

-- migrate:down
SELECT 1 / 0;  -- forward only
