"""The row of a process, as the adapter writes it and readers show it. Pure."""

#: the version of what the bucket holds of a process
ROW_SCHEMA = 2
