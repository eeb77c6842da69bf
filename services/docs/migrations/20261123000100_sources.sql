-- migrate:up

-- Uploaded and produced bodies, by the SHA-256 of their bytes, in pieces of at most 1 MiB.
CREATE TABLE docs.artifacts (
  tenant_id uuid NOT NULL DEFAULT kernel.tenant_id(),
  digest text NOT NULL CHECK (digest ~ '^[0-9a-f]{64}$'),
  media_type text NOT NULL,
  size_bytes bigint NOT NULL CHECK (size_bytes > 0),
  created_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant_id, digest)
);

CREATE TABLE docs.artifact_pieces (
  tenant_id uuid NOT NULL DEFAULT kernel.tenant_id(),
  digest text NOT NULL,
  ordinal integer NOT NULL CHECK (ordinal >= 0),
  content bytea NOT NULL CHECK (octet_length(content) BETWEEN 1 AND 1048576),
  PRIMARY KEY (tenant_id, digest, ordinal),
  FOREIGN KEY (tenant_id, digest) REFERENCES docs.artifacts ON DELETE CASCADE
);
-- Packs are compressed already.
ALTER TABLE docs.artifact_pieces ALTER COLUMN content SET STORAGE EXTERNAL;

CREATE TABLE docs.sources (
  tenant_id uuid NOT NULL DEFAULT kernel.tenant_id(),
  source_id text NOT NULL CHECK (source_id ~ '^[a-z0-9][a-z0-9-]{1,38}[a-z0-9]$'),
  kind text NOT NULL CHECK (kind IN ('remote', 'upload')),
  repository text NOT NULL CHECK (repository <> ''),
  remote_uri text CHECK (remote_uri ~ '^(https|ssh)://'),
  revision text NOT NULL DEFAULT 'HEAD',
  bundle_digest text,
  state text NOT NULL DEFAULT 'registered' CHECK (state IN ('registered', 'indexed', 'failed')),
  failure text NOT NULL DEFAULT '',
  commit text NOT NULL DEFAULT '' CHECK (commit ~ '^([0-9a-f]{40})?$'),
  created_at timestamptz NOT NULL DEFAULT now(),
  updated_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant_id, source_id),
  FOREIGN KEY (tenant_id, bundle_digest) REFERENCES docs.artifacts,
  CHECK ((kind = 'remote') = (remote_uri IS NOT NULL)),
  CHECK ((kind = 'upload') = (bundle_digest IS NOT NULL))
);
CREATE INDEX sources_of_bundle ON docs.sources (tenant_id, bundle_digest);

CREATE TABLE docs.snapshots (
  tenant_id uuid NOT NULL DEFAULT kernel.tenant_id(),
  snapshot_id uuid NOT NULL DEFAULT uuidv7(),
  source_id text NOT NULL,
  commit text NOT NULL CHECK (commit ~ '^[0-9a-f]{40}$'),
  state text NOT NULL DEFAULT 'indexing' CHECK (state IN ('indexing', 'ready')),
  file_count integer NOT NULL DEFAULT 0,
  chunk_count integer NOT NULL DEFAULT 0,
  created_at timestamptz NOT NULL DEFAULT now(),
  ready_at timestamptz,
  PRIMARY KEY (tenant_id, snapshot_id),
  UNIQUE (tenant_id, source_id, commit),
  FOREIGN KEY (tenant_id, source_id) REFERENCES docs.sources ON DELETE CASCADE,
  CHECK ((state = 'ready') = (ready_at IS NOT NULL))
);

-- What a source's files say, by path and blob, so that a file that two snapshots share is read once.
CREATE TABLE docs.blobs (
  tenant_id uuid NOT NULL DEFAULT kernel.tenant_id(),
  source_id text NOT NULL,
  blob_hash text NOT NULL CHECK (blob_hash ~ '^[0-9a-f]{40}$'),
  content text NOT NULL,
  PRIMARY KEY (tenant_id, source_id, blob_hash),
  FOREIGN KEY (tenant_id, source_id) REFERENCES docs.sources ON DELETE CASCADE
);

CREATE TABLE docs.files (
  tenant_id uuid NOT NULL DEFAULT kernel.tenant_id(),
  snapshot_id uuid NOT NULL,
  path text NOT NULL,
  source_id text NOT NULL,
  blob_hash text NOT NULL,
  size_bytes integer NOT NULL CHECK (size_bytes >= 0),
  language text NOT NULL,
  PRIMARY KEY (tenant_id, snapshot_id, path),
  FOREIGN KEY (tenant_id, snapshot_id) REFERENCES docs.snapshots ON DELETE CASCADE,
  FOREIGN KEY (tenant_id, source_id, blob_hash) REFERENCES docs.blobs ON DELETE CASCADE
);
CREATE INDEX files_of_blob ON docs.files (tenant_id, source_id, blob_hash);

-- Identifiers fall into their words: TaskService, task_service and task.service all hold `task`.
CREATE FUNCTION docs.words(value text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE STRICT AS $$
  SELECT regexp_replace(
    regexp_replace(
      regexp_replace(value, '[_./:@#\\-]+', ' ', 'g'),
      '([[:lower:][:digit:]])([[:upper:]])', '\1 \2', 'g'),
    '([[:upper:]]+)([[:upper:]][[:lower:]])', '\1 \2', 'g')
$$;

CREATE TABLE docs.chunks (
  tenant_id uuid NOT NULL DEFAULT kernel.tenant_id(),
  source_id text NOT NULL,
  path text NOT NULL,
  blob_hash text NOT NULL,
  ordinal integer NOT NULL CHECK (ordinal >= 0),
  symbol text NOT NULL,
  start_line integer NOT NULL CHECK (start_line > 0),
  end_line integer NOT NULL CHECK (end_line >= start_line),
  text text NOT NULL CHECK (text <> ''),
  search tsvector NOT NULL GENERATED ALWAYS AS (
    setweight(to_tsvector('pg_catalog.english'::regconfig, docs.words(symbol)), 'A')
    || setweight(to_tsvector('pg_catalog.english'::regconfig, docs.words(path)), 'B')
    || to_tsvector('pg_catalog.english'::regconfig, docs.words("left"(text, 100000)))
  ) STORED,
  PRIMARY KEY (tenant_id, source_id, path, blob_hash, ordinal),
  FOREIGN KEY (tenant_id, source_id, blob_hash) REFERENCES docs.blobs ON DELETE CASCADE
);
CREATE INDEX chunks_of_blob ON docs.chunks (tenant_id, source_id, blob_hash);
-- No pending list: it makes the planner avoid the index after a bulk insert, and saves little here.
CREATE INDEX chunks_search ON docs.chunks USING gin (tenant_id, source_id, search) WITH (fastupdate = off);

CREATE TABLE docs.facts (
  tenant_id uuid NOT NULL DEFAULT kernel.tenant_id(),
  source_id text NOT NULL,
  path text NOT NULL,
  blob_hash text NOT NULL,
  ordinal integer NOT NULL CHECK (ordinal >= 0),
  kind text NOT NULL,
  name text NOT NULL,
  start_line integer NOT NULL CHECK (start_line > 0),
  end_line integer NOT NULL CHECK (end_line >= start_line),
  quote text NOT NULL CHECK (quote <> ''),
  PRIMARY KEY (tenant_id, source_id, path, blob_hash, ordinal),
  FOREIGN KEY (tenant_id, source_id, blob_hash) REFERENCES docs.blobs ON DELETE CASCADE
);
CREATE INDEX facts_of_blob ON docs.facts (tenant_id, source_id, blob_hash);

DO $$
DECLARE name text;
BEGIN
  FOREACH name IN ARRAY ARRAY[
    'artifacts', 'artifact_pieces', 'sources', 'snapshots', 'files', 'blobs', 'chunks', 'facts'
  ] LOOP
    EXECUTE format('ALTER TABLE docs.%I ENABLE ROW LEVEL SECURITY', name);
    EXECUTE format('ALTER TABLE docs.%I FORCE ROW LEVEL SECURITY', name);
    EXECUTE format('CREATE POLICY tenant ON docs.%I TO docs_app USING (tenant_id = (SELECT kernel.tenant_id())) '
                   'WITH CHECK (tenant_id = (SELECT kernel.tenant_id()))', name);
  END LOOP;
END $$;
GRANT SELECT, INSERT, DELETE ON docs.artifacts, docs.artifact_pieces, docs.blobs, docs.files, docs.chunks, docs.facts
  TO docs_app;
GRANT SELECT, INSERT, DELETE, UPDATE (repository, remote_uri, revision, bundle_digest, state, failure, commit, updated_at)
  ON docs.sources TO docs_app;
GRANT SELECT, INSERT, DELETE, UPDATE (state, file_count, chunk_count, ready_at) ON docs.snapshots TO docs_app;

-- migrate:down
SELECT 1 / 0;  -- forward only
