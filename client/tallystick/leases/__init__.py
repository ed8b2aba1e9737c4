"""The lease of an agent's log: one writer at a time. Made by `Agent.lease`."""
