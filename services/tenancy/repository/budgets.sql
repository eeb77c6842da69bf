-- name: sweep_reservations
SELECT sweep_reservations(%(most)s) AS closed
