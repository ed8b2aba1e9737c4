"""What a command does to an agent's log and state: pure, deterministic, no clock, no I/O."""
