"""Asking process-compose: its REST API, its push stream, its logs."""
