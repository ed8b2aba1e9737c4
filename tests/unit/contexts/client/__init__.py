"""The client's side of contexts."""
