-- name: get_current_data_key
SELECT data_key_id, wrapped FROM data_keys WHERE is_current

-- name: get_data_key
SELECT wrapped FROM data_keys WHERE data_key_id = %(data_key_id)s

-- name: insert_data_key
INSERT INTO data_keys (data_key_id, wrapped) VALUES (%(data_key_id)s, %(wrapped)s) ON CONFLICT DO NOTHING
