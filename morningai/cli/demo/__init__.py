"""`morningai demo`: the main job on this machine, from an empty data folder to proven results."""
