"""MorningAI on one machine: PostgreSQL, NATS, the six services and a local model as supervised child processes."""
