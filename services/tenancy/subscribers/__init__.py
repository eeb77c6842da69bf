"""The bus's door for tenants: who may come in, what a connection hears, and when it has to end."""
