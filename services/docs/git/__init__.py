"""Git as a subprocess that trusts neither remotes nor repositories: no hooks, prompts, helpers or checkouts."""
