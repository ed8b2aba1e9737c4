"""Hostile updates against admission and pycrdt: `make fuzz`."""
