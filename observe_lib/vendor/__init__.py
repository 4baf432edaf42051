"""The verb `vendor`."""
