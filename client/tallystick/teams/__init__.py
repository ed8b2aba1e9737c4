"""Several agents at once: transactions, and cuts through a team."""
