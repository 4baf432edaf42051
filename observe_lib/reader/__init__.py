"""Reads back what adapters published: events, states, the past."""
