"""The gateway's rules, a module for each noun."""
