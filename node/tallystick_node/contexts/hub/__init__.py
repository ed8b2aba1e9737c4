"""The node's side of open documents: subscribers, ack levels, presence, and what the worker has yet to hear."""
