-- migrate:up

CREATE TABLE docs.documents (
  tenant_id uuid NOT NULL DEFAULT kernel.tenant_id(),
  document_id uuid NOT NULL DEFAULT uuidv7(),
  source_id text NOT NULL,
  task_id uuid NOT NULL,
  title text NOT NULL CHECK (title <> ''),
  newest_version integer NOT NULL DEFAULT 0,
  published_version integer,
  created_at timestamptz NOT NULL DEFAULT now(),
  updated_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant_id, document_id),
  CHECK (published_version <= newest_version)
);
CREATE INDEX documents_of_task ON docs.documents (tenant_id, task_id);

-- Immutable: nobody is granted UPDATE. `metadata` names task, trace, engine, model, prompt, repository and commit.
CREATE TABLE docs.document_versions (
  tenant_id uuid NOT NULL DEFAULT kernel.tenant_id(),
  document_id uuid NOT NULL,
  version integer NOT NULL CHECK (version > 0),
  content text NOT NULL,
  content_hash text NOT NULL CHECK (content_hash = encode(sha256(convert_to(content, 'UTF8')), 'hex')),
  claims jsonb NOT NULL CHECK (jsonb_typeof(claims) = 'array'),
  metadata jsonb NOT NULL CHECK (jsonb_typeof(metadata) = 'object'),
  created_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant_id, document_id, version),
  FOREIGN KEY (tenant_id, document_id) REFERENCES docs.documents
);
ALTER TABLE docs.documents ADD FOREIGN KEY (tenant_id, document_id, published_version)
  REFERENCES docs.document_versions (tenant_id, document_id, version);

ALTER TABLE docs.documents ENABLE ROW LEVEL SECURITY;
ALTER TABLE docs.documents FORCE ROW LEVEL SECURITY;
ALTER TABLE docs.document_versions ENABLE ROW LEVEL SECURITY;
ALTER TABLE docs.document_versions FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON docs.documents TO docs_app
  USING (tenant_id = (SELECT kernel.tenant_id())) WITH CHECK (tenant_id = (SELECT kernel.tenant_id()));
CREATE POLICY tenant ON docs.document_versions TO docs_app
  USING (tenant_id = (SELECT kernel.tenant_id())) WITH CHECK (tenant_id = (SELECT kernel.tenant_id()));
GRANT SELECT, INSERT, UPDATE (title, newest_version, published_version, updated_at) ON docs.documents TO docs_app;
GRANT SELECT, INSERT ON docs.document_versions TO docs_app;

-- migrate:down
SELECT 1 / 0;  -- forward only
