"""The gateway's rows, a module and its SQL for each noun."""
