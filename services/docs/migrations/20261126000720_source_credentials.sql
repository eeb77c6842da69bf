-- migrate:up

-- What the https remote of a source asks for. The token is sealed for its source and its remote.
CREATE TABLE docs.source_credentials (
  tenant_id uuid NOT NULL DEFAULT kernel.tenant_id(),
  source_id text NOT NULL,
  username text NOT NULL CHECK (username <> ''),
  token bytea NOT NULL,
  set_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant_id, source_id),
  FOREIGN KEY (tenant_id, source_id) REFERENCES docs.sources ON DELETE CASCADE
);
ALTER TABLE docs.source_credentials ENABLE ROW LEVEL SECURITY;
ALTER TABLE docs.source_credentials FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON docs.source_credentials TO docs_app
  USING (tenant_id = (SELECT kernel.tenant_id())) WITH CHECK (tenant_id = (SELECT kernel.tenant_id()));
GRANT SELECT, INSERT, DELETE, UPDATE (username, token, set_at) ON docs.source_credentials TO docs_app;

-- migrate:down
SELECT 1 / 0;  -- forward only
