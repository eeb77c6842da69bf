-- name: list_dead_letters
SELECT * FROM list_dead_letters(%(service)s, %(state)s, %(before_time)s, %(before_id)s, %(limit)s)

-- name: get_dead_letter
SELECT * FROM get_dead_letter(%(consumer)s, %(message_id)s)

-- name: replay_dead_letter
SELECT replay_dead_letter(%(consumer)s, %(message_id)s) AS outcome

-- name: drop_dead_letter
SELECT drop_dead_letter(%(consumer)s, %(message_id)s, %(why)s) AS outcome

-- name: list_all_dead_letters
SELECT * FROM list_all_dead_letters(%(service)s, %(state)s, %(quarantined)s, %(before_time)s, %(before_id)s, %(limit)s)

-- name: drop_quarantined_letter
SELECT drop_quarantined_letter(%(consumer)s, %(message_id)s, %(why)s) AS outcome
