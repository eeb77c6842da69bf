-- name: count_endpoints
SELECT count(*) AS count FROM webhook_endpoints

-- name: insert_endpoint
INSERT INTO webhook_endpoints (endpoint_id, url, event_types, description, secret)
VALUES (%(endpoint_id)s, %(url)s, %(event_types)s, %(description)s, %(secret)s)
RETURNING *

-- name: get_endpoint
SELECT * FROM webhook_endpoints WHERE endpoint_id = %(endpoint_id)s

-- name: lock_endpoint
SELECT * FROM webhook_endpoints WHERE endpoint_id = %(endpoint_id)s FOR UPDATE

-- name: list_endpoints
SELECT * FROM webhook_endpoints
WHERE (created_at, endpoint_id) < (%(before_time)s, %(before_id)s)
ORDER BY created_at DESC, endpoint_id DESC
LIMIT %(limit)s

-- name: update_endpoint
UPDATE webhook_endpoints SET url = %(url)s, event_types = %(event_types)s, description = %(description)s,
  updated_at = now()
WHERE endpoint_id = %(endpoint_id)s

-- name: update_state
-- Enabled again, an endpoint starts without its earlier failures.
UPDATE webhook_endpoints SET state = %(state)s, disabled_reason = %(reason)s, consecutive_failures = 0,
  failing_since = NULL, updated_at = now()
WHERE endpoint_id = %(endpoint_id)s AND state <> %(state)s

-- name: delete_endpoint
DELETE FROM webhook_endpoints WHERE endpoint_id = %(endpoint_id)s

-- name: replace_secret
UPDATE webhook_endpoints SET secret = %(secret)s, previous_secret = %(previous_secret)s,
  previous_secret_expires_at = now() + make_interval(secs => %(overlap_seconds)s), updated_at = now()
WHERE endpoint_id = %(endpoint_id)s
RETURNING *

-- name: insert_deliveries
-- One for each endpoint that wants the event.
INSERT INTO webhook_deliveries (endpoint_id, event_id, event_type, body)
SELECT endpoint_id, %(event_id)s, %(event_type)s, %(body)s FROM webhook_endpoints
WHERE state = 'enabled' AND (event_types = '{}' OR %(event_type)s = ANY (event_types))
ON CONFLICT DO NOTHING

-- name: insert_delivery
INSERT INTO webhook_deliveries (endpoint_id, event_id, event_type, body)
VALUES (%(endpoint_id)s, %(event_id)s, %(event_type)s, %(body)s)
RETURNING *

-- name: list_deliveries
SELECT * FROM webhook_deliveries
WHERE endpoint_id = %(endpoint_id)s AND (created_at, delivery_id) < (%(before_time)s, %(before_id)s)
ORDER BY created_at DESC, delivery_id DESC
LIMIT %(limit)s

-- name: deliver_again
UPDATE webhook_deliveries SET state = 'pending', attempts = 0, claim_id = NULL, due_at = now(), ended_at = NULL
WHERE endpoint_id = %(endpoint_id)s AND delivery_id = %(delivery_id)s
RETURNING *
