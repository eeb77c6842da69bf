-- name: list_keys
SELECT key_id, created_at, replaced_at, retired_at, minting FROM kernel.proof_keys ORDER BY created_at, key_id

-- name: lock_keys
LOCK TABLE kernel.proof_keys IN SHARE ROW EXCLUSIVE MODE

-- name: stop_minting
UPDATE kernel.proof_keys SET minting = false, replaced_at = now() WHERE minting

-- name: insert_key
-- Three random UUIDs carry 366 random bits; their digest is the key, kept as the two pads of RFC 2104.
WITH secret AS (
  SELECT sha256(convert_to(gen_random_uuid()::text || gen_random_uuid()::text || gen_random_uuid()::text, 'UTF8'))
         || decode(repeat('00', 32), 'hex') AS key
), pads AS (
  SELECT string_agg(set_byte('\x00', 0, get_byte(key, i) # 54), '' ORDER BY i) AS inner_pad,
         string_agg(set_byte('\x00', 0, get_byte(key, i) # 92), '' ORDER BY i) AS outer_pad
  FROM secret, generate_series(0, 63) AS i
)
INSERT INTO kernel.proof_keys (key_id, inner_pad, outer_pad, minting)
SELECT 'k' || (SELECT max(substr(key_id, 2)::integer) + 1 FROM kernel.proof_keys), inner_pad, outer_pad, true FROM pads
RETURNING key_id, created_at, replaced_at, retired_at, minting

-- name: analyze_keys
ANALYZE kernel.proof_keys

-- name: retire_key
UPDATE kernel.proof_keys SET retired_at = now() WHERE key_id = %(key_id)s

-- name: reseal
-- Messages that this key sealed and that may still be needed get today's seal; those that were published are published
-- again, because they may be waiting on the bus. Whoever has handled one already knows it by its id.
UPDATE {outbox} AS o
SET seal = kernel.sign(array_to_string((string_to_array(o.seal, '|'))[2:7], '|')),
    published_at = CASE WHEN o.work_id IS NULL AND o.due_at <= now() AND {again} THEN NULL ELSE o.published_at END
FROM kernel.tasks AS t
WHERE t.tenant_id = o.tenant_id AND t.task_id = o.task_id AND split_part(o.seal, '|', 1) = %(key_id)s
  AND (o.published_at IS NULL OR t.closed_at IS NULL OR t.closed_at > now() - interval '1 hour')
