"""A real migration that survives kill -9 of a leader and of an agent. Begin with `agent.py`; `demo.py` stages it."""
