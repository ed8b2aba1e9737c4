"""Shared contexts as an agent holds them: live local replicas of documents. DESIGN.md says how they are held."""
