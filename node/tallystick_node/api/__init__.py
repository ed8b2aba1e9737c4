"""gRPC in: messages to calls of the store and back. No logic: what is decided here is nothing."""
