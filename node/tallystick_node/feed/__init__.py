"""What was decided, to those who watch."""
