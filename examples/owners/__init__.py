"""Two agents, one frozen and thawed, one cut off and reconciled: the third act of `make demo`."""
