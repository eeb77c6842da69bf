-- name: list_usage
SELECT CASE %(group)s
    WHEN 'day' THEN day::text WHEN 'month' THEN to_char(day, 'YYYY-MM')
    WHEN 'task' THEN 'tasks/' || task_id WHEN 'model' THEN model END AS key,
  sum(calls)::bigint AS calls, sum(calls_in_full)::bigint AS calls_in_full, sum(prompt_tokens)::bigint AS prompt_tokens,
  sum(completion_tokens)::bigint AS completion_tokens, sum(money)::bigint AS money_micros
FROM usage WHERE day BETWEEN %(start)s AND %(end)s
GROUP BY 1
ORDER BY CASE WHEN %(group)s IN ('day', 'month') THEN min(day) END, sum(prompt_tokens + completion_tokens) DESC, 1
LIMIT %(limit)s

-- name: get_total
SELECT 'total' AS key, coalesce(sum(calls), 0)::bigint AS calls, coalesce(sum(calls_in_full), 0)::bigint AS calls_in_full,
  coalesce(sum(prompt_tokens), 0)::bigint AS prompt_tokens,
  coalesce(sum(completion_tokens), 0)::bigint AS completion_tokens, coalesce(sum(money), 0)::bigint AS money_micros
FROM usage WHERE day BETWEEN %(start)s AND %(end)s

-- name: list_limits
WITH today AS (SELECT (now() AT TIME ZONE 'UTC')::date AS day)
SELECT l.*, CASE
    WHEN l.name LIKE 'tokens\_per\_%%' THEN coalesce(s.reserved_tokens + s.spent_tokens, 0)
    WHEN l.name LIKE 'money\_per\_%%' THEN coalesce(s.reserved_money + s.spent_money, 0) END AS used
FROM today CROSS JOIN limits_of(%(tenant_id)s) AS l
LEFT JOIN spending AS s ON l.name LIKE '%%\_per\_' || s.period
  AND s.starts_on = date_trunc(s.period, today.day)::date
ORDER BY l.name

-- name: set_own_limit
SELECT set_own_limit(%(name)s, %(value)s) AS done

-- name: set_operator_limit
SELECT set_operator_limit(%(tenant_id)s, %(name)s, %(value)s) AS done

-- name: list_operator_limits
SELECT *, NULL::bigint AS used FROM operator_limits(%(tenant_id)s)

-- name: set_model_price
SELECT set_model_price(%(model)s, %(prompt_price)s, %(completion_price)s)
