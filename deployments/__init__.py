"""Every way in: the command line, and the Prefect worker type."""
