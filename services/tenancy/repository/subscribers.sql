-- name: authenticate
SELECT authenticate(%(key)s) AS grant

-- name: ended
SELECT tenant_id, key_id FROM ended_subscribers(%(tenants)s, %(keys)s)

-- name: allowed
SELECT tenant_id, key_id FROM allowed_subscribers(%(tenants)s, %(keys)s)
