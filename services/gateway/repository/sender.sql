-- name: lock_claims
-- One replica claims at a time, so that the bounds for each endpoint and tenant hold for all of them together.
SELECT pg_advisory_xact_lock(hashtext('gateway'), hashtext('webhooks'))

-- name: claim_deliveries
-- The oldest due deliveries of each enabled endpoint, those of every tenant that is not suspended in turn.
WITH under_way AS (
  SELECT tenant_id, endpoint_id, count(*) AS count FROM webhook_deliveries
  WHERE claim_id IS NOT NULL AND state = 'pending' AND due_at > now()
  GROUP BY tenant_id, endpoint_id
), uncounted AS (
  -- Posts of this sender whose delivery was deleted or whose claim is over: they take a place until they end.
  SELECT f.tenant_id, count(*) AS count
  FROM unnest(%(flying_tenants)s::uuid[], %(flying_claims)s::uuid[]) AS f (tenant_id, claim_id)
  WHERE NOT EXISTS (
    SELECT FROM webhook_deliveries AS w
    WHERE w.tenant_id = f.tenant_id AND w.claim_id = f.claim_id AND w.state = 'pending' AND w.due_at > now()
  )
  GROUP BY f.tenant_id
), due AS (
  SELECT d.tenant_id, d.delivery_id, d.due_at,
    row_number() OVER (PARTITION BY d.tenant_id ORDER BY d.due_at, d.delivery_id)
      + coalesce((SELECT sum(u.count) FROM under_way AS u WHERE u.tenant_id = d.tenant_id), 0)
      + coalesce((SELECT u.count FROM uncounted AS u WHERE u.tenant_id = d.tenant_id), 0) AS turn
  FROM webhook_endpoints AS e
  LEFT JOIN under_way AS u ON u.tenant_id = e.tenant_id AND u.endpoint_id = e.endpoint_id
  CROSS JOIN LATERAL (
    SELECT w.tenant_id, w.delivery_id, w.due_at FROM webhook_deliveries AS w
    WHERE w.tenant_id = e.tenant_id AND w.endpoint_id = e.endpoint_id AND w.state = 'pending' AND w.due_at <= now()
    ORDER BY w.due_at, w.delivery_id LIMIT greatest(%(per_endpoint)s - coalesce(u.count, 0), 0)
  ) AS d
  WHERE e.state = 'enabled' AND e.tenant_id <> ALL (ARRAY(SELECT tenancy.suspended_tenants()))
), chosen AS (
  SELECT w.tenant_id, w.delivery_id FROM webhook_deliveries AS w JOIN due USING (tenant_id, delivery_id)
  WHERE due.turn <= %(per_tenant)s AND w.state = 'pending' AND w.due_at <= now()
  ORDER BY due.turn, due.due_at LIMIT %(limit)s
  FOR UPDATE OF w SKIP LOCKED
)
UPDATE webhook_deliveries AS w
SET claim_id = gen_random_uuid(), attempts = w.attempts + 1, due_at = now() + make_interval(secs => %(lease_seconds)s)
FROM chosen JOIN webhook_endpoints AS e USING (tenant_id)
WHERE w.tenant_id = chosen.tenant_id AND w.delivery_id = chosen.delivery_id AND e.endpoint_id = w.endpoint_id
RETURNING w.tenant_id, w.delivery_id, w.claim_id, w.endpoint_id, w.event_id, w.body, w.attempts AS attempt, e.url,
  e.secret, CASE WHEN e.previous_secret_expires_at > now() THEN e.previous_secret END AS previous_secret

-- name: get_data_key
SELECT wrapped FROM data_keys WHERE tenant_id = %(tenant_id)s AND data_key_id = %(data_key_id)s

-- name: lock_endpoint
SELECT endpoint_id FROM webhook_endpoints WHERE tenant_id = %(tenant_id)s AND endpoint_id = %(endpoint_id)s
FOR NO KEY UPDATE

-- name: finish_delivery
-- Nothing when another sender has taken the delivery up meanwhile, or it was asked for once more.
UPDATE webhook_deliveries SET claim_id = NULL, state = %(state)s, response_status = %(response_status)s,
  response_body = %(response_body)s, error = %(error)s,
  due_at = now() + make_interval(secs => %(delay_seconds)s),
  ended_at = CASE WHEN %(state)s = 'pending' THEN NULL ELSE now() END
WHERE tenant_id = %(tenant_id)s AND delivery_id = %(delivery_id)s AND claim_id = %(claim_id)s

-- name: count_success
UPDATE webhook_endpoints SET consecutive_failures = 0, failing_since = NULL
WHERE tenant_id = %(tenant_id)s AND endpoint_id = %(endpoint_id)s AND consecutive_failures > 0

-- name: count_failure
UPDATE webhook_endpoints SET consecutive_failures = consecutive_failures + 1,
  failing_since = coalesce(failing_since, now())
WHERE tenant_id = %(tenant_id)s AND endpoint_id = %(endpoint_id)s
RETURNING consecutive_failures AS failures, extract(epoch FROM now() - failing_since)::float / 3600 AS hours

-- name: disable_endpoint
UPDATE webhook_endpoints SET state = 'disabled', disabled_reason = %(reason)s
WHERE tenant_id = %(tenant_id)s AND endpoint_id = %(endpoint_id)s AND state = 'enabled'

-- name: get_next_due
SELECT extract(epoch FROM min(w.due_at) - now())::float AS seconds
FROM webhook_endpoints AS e CROSS JOIN LATERAL (
  SELECT d.due_at FROM webhook_deliveries AS d
  WHERE d.tenant_id = e.tenant_id AND d.endpoint_id = e.endpoint_id AND d.state = 'pending'
  ORDER BY d.due_at LIMIT 1
) AS w
WHERE e.state = 'enabled' AND e.tenant_id <> ALL (ARRAY(SELECT tenancy.suspended_tenants()))
