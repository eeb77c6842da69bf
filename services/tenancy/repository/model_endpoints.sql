-- name: set_model_endpoint
SELECT set_model_endpoint(%(kind)s, %(base_url)s, %(model)s, %(context_tokens)s, %(api_key)s)

-- name: clear_model_endpoint
SELECT clear_model_endpoint(%(kind)s)

-- name: list_model_endpoints
SELECT kind, base_url, model, context_tokens, api_key IS NOT NULL AS has_api_key, set_at
FROM model_endpoints ORDER BY kind

-- name: get_model_endpoint
SELECT kind, base_url, model, context_tokens, api_key
FROM model_endpoints WHERE kind IN ('any', %(kind)s) ORDER BY kind = 'any' LIMIT 1
