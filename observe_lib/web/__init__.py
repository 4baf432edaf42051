"""The verb `web`: a live page, JSON and metrics."""
