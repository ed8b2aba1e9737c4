"""The node's HTTP port: stock Yjs clients over WebSockets, and health checks for who speaks no gRPC."""
