"""The services that the gateway answers itself, a module for each noun."""
