-- name: get_feed_ends
-- Every transaction below the horizon has ended. What was deleted is at most at the floor. The end is that of the last event,
-- and not the horizon: PostgreSQL that crashes may give numbers of transactions that left nothing behind once more.
WITH ends AS (
  SELECT pg_snapshot_xmin(snapshot)::text::bigint + life.first_position AS horizon
  FROM pg_current_snapshot() AS snapshot, feed_life AS life
)
SELECT coalesce(f.feed_position, 0) AS floor_position, coalesce(f.sequence, 0) AS floor_sequence,
  coalesce(last.feed_position, 0) AS last_position, coalesce(last.sequence, 0) AS last_sequence
FROM ends LEFT JOIN feed_floors AS f ON true LEFT JOIN LATERAL (
  SELECT feed_position, sequence FROM task_events WHERE feed_position < ends.horizon
  ORDER BY feed_position DESC, sequence DESC LIMIT 1
) AS last ON true

-- name: list_feed
-- One statement, because its parts must see the same transactions as ended; always one row at least. `found` counts
-- those before the bound of bytes.
WITH ends AS (
  SELECT pg_snapshot_xmin(snapshot)::text::bigint + life.first_position AS horizon,
    pg_snapshot_xmax(snapshot)::text::bigint + life.first_position AS ceiling
  FROM pg_current_snapshot() AS snapshot, feed_life AS life
)
SELECT ends.ceiling, coalesce(f.feed_position, 0) AS floor_position, coalesce(f.sequence, 0) AS floor_sequence,
  coalesce(last.feed_position, 0) AS last_position, coalesce(last.sequence, 0) AS last_sequence,
  coalesce(CASE WHEN %(task_id)s::uuid IS NULL THEN (SELECT max(feed_position) FROM task_events)
    ELSE (SELECT max(feed_position) FROM task_events WHERE task_id = %(task_id)s::uuid) END >= ends.horizon, false) AS is_held,
  (SELECT t.ended_at IS NOT NULL FROM tasks AS t WHERE t.task_id = %(task_id)s) AS has_ended,
  e.feed_position, e.sequence, e.event_id, e.type, e.event, e.found
FROM ends LEFT JOIN feed_floors AS f ON true LEFT JOIN LATERAL (
  SELECT feed_position, sequence FROM task_events WHERE feed_position < ends.horizon
  ORDER BY feed_position DESC, sequence DESC LIMIT 1
) AS last ON true LEFT JOIN LATERAL (
  SELECT page.*, count(*) OVER () AS found,
    sum(octet_length(page.event)) OVER (ORDER BY page.feed_position, page.sequence) - octet_length(page.event) AS bytes
  FROM (
    SELECT feed_position, sequence, event_id, type, event FROM task_events
    WHERE (feed_position, sequence) > (%(after_position)s, %(after_sequence)s) AND feed_position < ends.horizon
      AND type = ANY (%(types)s)
      AND (%(task_id)s::uuid IS NULL OR task_id = %(task_id)s::uuid)
    ORDER BY feed_position, sequence LIMIT %(limit)s
  ) AS page
) AS e ON e.bytes < %(most_bytes)s
ORDER BY e.feed_position, e.sequence
