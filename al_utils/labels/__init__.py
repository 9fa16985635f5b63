"""A person's labels out of a session and into one: CSV, folders, Label Studio; how far people agree."""
