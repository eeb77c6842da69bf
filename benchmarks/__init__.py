"""The program against its limits, measured through its own command and its public API."""
