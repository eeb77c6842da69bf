"""Stored credentials: sealed per tenant and opened only where they stand.

A key-encryption key from the settings wraps a data key per tenant; the data key seals each credential for its one cell.
"""
