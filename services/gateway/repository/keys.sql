-- name: authenticate
SELECT tenancy.authenticate(%(key)s) AS grant

-- name: note_key_uses
SELECT tenancy.note_key_uses(%(key_ids)s, %(times)s)

-- name: admit
SELECT tenancy.admit(%(proof)s, %(call_class)s) AS wait_microseconds
