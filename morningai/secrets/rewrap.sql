-- name: lock_data_keys
SELECT tenant_id, data_key_id, wrapped FROM {data_keys} FOR UPDATE

-- name: update_data_key
UPDATE {data_keys} SET wrapped = %(wrapped)s WHERE tenant_id = %(tenant_id)s AND data_key_id = %(data_key_id)s
