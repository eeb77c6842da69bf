"""Sources, search and documents: what a tenant's repositories say, at a commit, and what was written from them."""
