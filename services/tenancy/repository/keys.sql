-- name: create_key
SELECT create_api_key(%(key_id)s, %(secret)s, %(display_name)s, %(scopes)s, %(expires_at)s)

-- name: count_keys
SELECT count(*) AS used FROM api_keys
WHERE revoked_at IS NULL AND (expires_at IS NULL OR expires_at > statement_timestamp())

-- name: rotate_key
SELECT rotate_api_key(%(key_id)s, %(secret)s, %(overlap)s) AS rotated

-- name: revoke_key
SELECT revoke_api_key(%(key_id)s)

-- name: get_key
SELECT key_id, display_name, scopes, creator, created_at, expires_at, last_used_at, revoked_at, previous_expires_at
FROM api_keys WHERE key_id = %(key_id)s

-- name: list_keys
SELECT key_id, display_name, scopes, creator, created_at, expires_at, last_used_at, revoked_at, previous_expires_at
FROM api_keys
WHERE %(before_time)s::timestamptz IS NULL OR (created_at, key_id) < (%(before_time)s, %(before_id)s)
ORDER BY created_at DESC, key_id DESC
LIMIT %(limit)s
