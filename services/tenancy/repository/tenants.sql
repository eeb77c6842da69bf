-- name: create_tenant
SELECT create_tenant(%(slug)s, %(display_name)s, %(key_id)s, %(secret)s, %(scopes)s) AS tenant_id

-- name: get_tenant
SELECT tenant_id, slug, display_name, state, created_at FROM tenants WHERE tenant_id = %(tenant_id)s

-- name: update_tenant
SELECT update_tenant(%(display_name)s)

-- name: send_to_open_tasks
SELECT send_to_open_tasks(%(tenant_id)s, %(type)s, %(subject)s, %(body)s, %(traceparent)s)

-- name: suspend_tenant
SELECT suspend_tenant(%(tenant_id)s) AS found

-- name: resume_tenant
SELECT resume_tenant(%(tenant_id)s) AS found

-- name: get_tenant_of_operator
SELECT * FROM tenants_of_operator(%(tenant_id)s, '', 1)

-- name: list_tenants
SELECT * FROM tenants_of_operator(NULL, %(after)s, %(limit)s)
