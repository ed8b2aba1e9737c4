"""Typed views: values, kinds, and that replicas agree."""
