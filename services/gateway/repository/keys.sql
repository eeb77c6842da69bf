-- name: authenticate
SELECT tenancy.authenticate(%(key)s) AS grant
