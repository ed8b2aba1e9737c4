"""Simulations in which nodes join, are promoted, removed and wiped, leaders hand over, and clients read."""
