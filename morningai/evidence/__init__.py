"""Grounded answers: quotes are resolved by the program, and nothing is claimed that was not found in a file."""
