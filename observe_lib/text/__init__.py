"""What people read: words, tables, lines."""
