"""Retention, as the client sees it: how much of agents' logs a namespace keeps, and removing the rest."""
