"""gRPC between nodes: one ordered stream from each node to each other one. No logic of Raft, only its messages."""
