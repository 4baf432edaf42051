"""Watches process-compose and publishes what happened."""
