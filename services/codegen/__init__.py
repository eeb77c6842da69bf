"""Code changes: written by a model, run only in a sandbox, and called verified only after an independent check."""
