-- name: insert_source
INSERT INTO sources (source_id, kind, repository, remote_uri, revision, bundle_digest, commit)
VALUES (%(source_id)s, %(kind)s, %(repository)s, %(remote_uri)s, %(revision)s, %(bundle_digest)s, %(commit)s)
ON CONFLICT DO NOTHING
RETURNING *

-- name: replace_bundle
UPDATE sources
SET repository = %(repository)s, bundle_digest = %(bundle_digest)s, commit = %(commit)s, state = 'registered',
    failure = '', updated_at = now()
WHERE source_id = %(source_id)s AND kind = 'upload'
RETURNING *

-- name: count_sources
SELECT count(*) AS used FROM sources

-- name: count_storage
SELECT size_bytes AS used FROM storage

-- name: count_sources_with
SELECT count(*) + 1 AS used FROM sources HAVING count(*) FILTER (WHERE source_id = %(source_id)s) = 0

-- name: count_storage_with
SELECT size_bytes + %(size_bytes)s AS used
FROM (SELECT coalesce(max(size_bytes), 0) AS size_bytes FROM storage) AS stored
WHERE NOT EXISTS (SELECT FROM artifacts WHERE digest = %(digest)s)

-- name: get_source
SELECT s.*, coalesce(n.file_count, 0) AS file_count, coalesce(n.chunk_count, 0) AS chunk_count,
       c.username AS credential_username, c.set_at AS credential_set_at
FROM sources AS s
LEFT JOIN snapshots AS n ON n.source_id = s.source_id AND n.commit = s.commit
LEFT JOIN source_credentials AS c ON c.source_id = s.source_id
WHERE s.source_id = %(source_id)s

-- name: list_sources
SELECT s.*, coalesce(n.file_count, 0) AS file_count, coalesce(n.chunk_count, 0) AS chunk_count,
       c.username AS credential_username, c.set_at AS credential_set_at
FROM sources AS s
LEFT JOIN snapshots AS n ON n.source_id = s.source_id AND n.commit = s.commit
LEFT JOIN source_credentials AS c ON c.source_id = s.source_id
WHERE s.source_id > %(after)s
ORDER BY s.source_id
LIMIT %(limit)s

-- name: put_credential
INSERT INTO source_credentials (source_id, username, token) VALUES (%(source_id)s, %(username)s, %(token)s)
ON CONFLICT (tenant_id, source_id) DO UPDATE
SET username = excluded.username, token = excluded.token, set_at = excluded.set_at

-- name: get_credential
SELECT username, token FROM source_credentials WHERE source_id = %(source_id)s

-- name: delete_credential
DELETE FROM source_credentials WHERE source_id = %(source_id)s

-- name: mark_source_indexed
UPDATE sources SET state = 'indexed', failure = '', commit = %(commit)s, updated_at = now()
WHERE source_id = %(source_id)s AND bundle_digest IS NOT DISTINCT FROM %(bundle_digest)s

-- name: insert_snapshot
INSERT INTO snapshots (source_id, commit) VALUES (%(source_id)s, %(commit)s)
ON CONFLICT (tenant_id, source_id, commit) DO UPDATE SET state = snapshots.state
RETURNING *

-- name: get_snapshot
SELECT n.*, s.repository FROM snapshots AS n JOIN sources AS s USING (source_id) WHERE n.snapshot_id = %(snapshot_id)s

-- name: mark_snapshot_ready
UPDATE snapshots AS n
SET state = 'ready', ready_at = now(), file_count = counted.files, chunk_count = counted.chunks
FROM (
  SELECT count(DISTINCT f.path) AS files, count(c.ordinal) AS chunks
  FROM files AS f
  LEFT JOIN chunks AS c ON c.source_id = f.source_id AND c.path = f.path AND c.blob_hash = f.blob_hash
  WHERE f.snapshot_id = %(snapshot_id)s
) AS counted
WHERE n.snapshot_id = %(snapshot_id)s AND n.state = 'indexing'
RETURNING n.file_count, n.chunk_count

-- name: list_unread_files
SELECT wanted.path, wanted.blob_hash
FROM unnest(%(paths)s::text[], %(blob_hashes)s::text[]) AS wanted (path, blob_hash)
WHERE NOT EXISTS (
  SELECT FROM chunks AS c
  WHERE c.source_id = %(source_id)s AND c.path = wanted.path AND c.blob_hash = wanted.blob_hash AND c.ordinal = 0
)

-- name: insert_blobs
INSERT INTO blobs (source_id, blob_hash, content)
SELECT %(source_id)s, b.blob_hash, b.content
FROM unnest(%(blob_hashes)s::text[], %(contents)s::text[]) AS b (blob_hash, content)
ON CONFLICT DO NOTHING

-- name: insert_chunks
INSERT INTO chunks (source_id, path, blob_hash, ordinal, symbol, start_line, end_line, text)
SELECT %(source_id)s, c.*
FROM unnest(%(paths)s::text[], %(blob_hashes)s::text[], %(ordinals)s::int[], %(symbols)s::text[],
            %(start_lines)s::int[], %(end_lines)s::int[], %(texts)s::text[]) AS c
ON CONFLICT DO NOTHING

-- name: insert_facts
INSERT INTO facts (source_id, path, blob_hash, ordinal, kind, name, start_line, end_line, quote)
SELECT %(source_id)s, f.*
FROM unnest(%(paths)s::text[], %(blob_hashes)s::text[], %(ordinals)s::int[], %(kinds)s::text[], %(names)s::text[],
            %(start_lines)s::int[], %(end_lines)s::int[], %(quotes)s::text[]) AS f
ON CONFLICT DO NOTHING

-- name: insert_files
INSERT INTO files (snapshot_id, source_id, path, blob_hash, size_bytes, language)
SELECT %(snapshot_id)s, %(source_id)s, f.path, f.blob_hash, f.size_bytes, f.language
FROM unnest(%(paths)s::text[], %(blob_hashes)s::text[], %(sizes_bytes)s::int[], %(languages)s::text[])
  AS f (path, blob_hash, size_bytes, language)
WHERE EXISTS (SELECT FROM blobs AS b WHERE b.source_id = %(source_id)s AND b.blob_hash = f.blob_hash)
ON CONFLICT DO NOTHING

-- name: search_chunks
SELECT path, symbol, commit, blob_hash, start_line, end_line, text, score
FROM search_chunks(%(snapshot_id)s, %(query)s, %(limit)s)

-- name: list_facts
SELECT a.kind, a.name, a.path, n.commit, a.blob_hash, a.start_line, a.end_line, a.quote
FROM snapshots AS n
JOIN files AS f ON f.snapshot_id = n.snapshot_id
JOIN facts AS a ON a.source_id = f.source_id AND a.path = f.path AND a.blob_hash = f.blob_hash
WHERE n.snapshot_id = %(snapshot_id)s AND n.state = 'ready'
ORDER BY a.kind, a.path, a.ordinal

-- name: list_first_chunks
SELECT c.path, c.symbol, n.commit, c.blob_hash, c.start_line, c.end_line, c.text
FROM snapshots AS n
JOIN files AS f ON f.snapshot_id = n.snapshot_id
JOIN chunks AS c ON c.source_id = f.source_id AND c.path = f.path AND c.blob_hash = f.blob_hash
CROSS JOIN LATERAL (
  SELECT c.path ~* '^(readme|architecture|design|overview)[^/]*$' AND f.language IN ('markdown', 'rst', 'text') AS describes_all
) AS what
WHERE n.snapshot_id = %(snapshot_id)s AND n.state = 'ready' AND (c.ordinal < %(per_file)s OR what.describes_all)
ORDER BY NOT what.describes_all, CASE WHEN what.describes_all THEN 0 ELSE c.ordinal END,
  f.language NOT IN ('markdown', 'rst', 'text'), array_length(string_to_array(c.path, '/'), 1), c.path, c.ordinal
LIMIT %(limit)s

-- name: insert_artifact
INSERT INTO artifacts (digest, media_type, size_bytes) VALUES (%(digest)s, %(media_type)s, %(size_bytes)s)
ON CONFLICT DO NOTHING
RETURNING digest

-- name: insert_artifact_piece
INSERT INTO artifact_pieces (digest, ordinal, content) VALUES (%(digest)s, %(ordinal)s, %(content)s)

-- name: list_artifact_pieces
SELECT ordinal, content FROM artifact_pieces
WHERE digest = %(digest)s AND ordinal >= %(first)s ORDER BY ordinal LIMIT %(limit)s

-- name: insert_document
INSERT INTO documents (source_id, task_id, title) VALUES (%(source_id)s, %(task_id)s, %(title)s)
RETURNING document_id

-- name: insert_document_version
WITH numbered AS (
  UPDATE documents SET newest_version = newest_version + 1, title = %(title)s, updated_at = now()
  WHERE document_id = %(document_id)s
  RETURNING document_id, newest_version
)
INSERT INTO document_versions (document_id, version, content, content_hash, claims, metadata)
SELECT document_id, newest_version, %(content)s, %(content_hash)s, %(claims)s, %(metadata)s FROM numbered
RETURNING version

-- name: mark_document_published
UPDATE documents SET published_version = %(version)s, updated_at = now()
WHERE document_id = %(document_id)s
  AND EXISTS (
    SELECT FROM document_versions AS v
    WHERE v.document_id = %(document_id)s AND v.version = %(version)s AND v.content_hash = %(content_hash)s)
RETURNING published_version

-- name: get_document
SELECT d.document_id, d.title, d.source_id, d.task_id, d.published_version, d.created_at, d.updated_at,
       v.version, v.content, v.content_hash, v.claims, v.metadata
FROM documents AS d JOIN document_versions AS v USING (document_id)
WHERE d.document_id = %(document_id)s AND v.version = coalesce(nullif(%(version)s, 0), d.newest_version)

-- name: list_documents
SELECT d.document_id, d.title, d.source_id, d.task_id, d.newest_version AS version, d.published_version,
       d.created_at, d.updated_at, v.content_hash, v.metadata
FROM documents AS d JOIN document_versions AS v ON v.document_id = d.document_id AND v.version = d.newest_version
WHERE %(before)s::uuid IS NULL OR d.document_id < %(before)s
ORDER BY d.document_id DESC
LIMIT %(limit)s

-- name: principal_may
SELECT tenancy.principal_may(%(scope)s) AS may

-- name: record
SELECT tenancy.record(%(action)s, %(resource)s, %(details)s)

-- name: insert_patch
INSERT INTO patches (change, task_id, patch_hash, patch)
VALUES (%(change)s, %(task_id)s, encode(sha256(convert_to(%(patch)s, 'UTF8')), 'hex'), %(patch)s)
ON CONFLICT DO NOTHING

-- name: get_patch
SELECT patch FROM patches WHERE change = %(change)s AND task_id = %(task_id)s AND patch_hash = %(patch_hash)s
