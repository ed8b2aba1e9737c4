"""The schema of a context: what it may say, and what breaks it."""
