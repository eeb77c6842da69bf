"""Tenancy's rules, a module for each noun."""
