"""Reads files: which are worth indexing, the chunks they fall into, the facts they declare. Pure: runs in a pool."""
