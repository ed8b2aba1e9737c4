"""Three agents on three nodes plan together through a partition: `make demo`, second act."""
