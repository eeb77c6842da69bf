-- name: create_tenant
SELECT create_tenant(%(slug)s, %(display_name)s, %(key_id)s, %(secret)s, %(scopes)s) AS tenant_id

-- name: get_tenant
SELECT tenant_id, slug, display_name, created_at FROM tenants WHERE tenant_id = %(tenant_id)s
