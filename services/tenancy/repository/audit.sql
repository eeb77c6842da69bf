-- name: list_entries
SELECT entry_id, created_at, principal, action, resource, details, trace_id, outcome FROM audit_log
WHERE (%(before_time)s::timestamptz IS NULL OR (created_at, entry_id) < (%(before_time)s, %(before_id)s::uuid))
  AND (%(action)s::text IS NULL OR action = %(action)s)
  AND (%(principal)s::text IS NULL OR principal = %(principal)s)
  AND (%(start)s::timestamptz IS NULL OR created_at >= %(start)s)
  AND (%(end)s::timestamptz IS NULL OR created_at < %(end)s)
  AND (%(outcome)s::text IS NULL OR outcome = %(outcome)s)
ORDER BY created_at DESC, entry_id DESC
LIMIT %(limit)s

-- name: list_entries_after
SELECT entry_id, created_at, principal, action, resource, details, trace_id, outcome FROM audit_log
WHERE (%(after_time)s::timestamptz IS NULL OR (created_at, entry_id) > (%(after_time)s, %(after_id)s::uuid))
  AND (%(action)s::text IS NULL OR action = %(action)s)
  AND (%(principal)s::text IS NULL OR principal = %(principal)s)
  AND (%(start)s::timestamptz IS NULL OR created_at >= %(start)s)
  AND (%(end)s::timestamptz IS NULL OR created_at < %(end)s)
  AND (%(outcome)s::text IS NULL OR outcome = %(outcome)s)
ORDER BY created_at, entry_id
LIMIT %(limit)s

-- name: list_operator_entries
SELECT * FROM operator_entries(%(before_time)s, %(before_id)s::uuid, %(limit)s)
