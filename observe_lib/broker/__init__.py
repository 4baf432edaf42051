"""NATS: loop thread, connection, names and settings of stream and bucket, lease, embedded server."""
