"""Every use case of shared contexts, no gRPC: `decided.py` what goes through the log."""
