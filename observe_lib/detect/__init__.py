"""What happened between two looks at process-compose: pure functions over what is known."""
