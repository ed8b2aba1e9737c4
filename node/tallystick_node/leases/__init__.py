"""Leases of agents' logs: the use cases, and the keeper that counts their time where this node leads."""
