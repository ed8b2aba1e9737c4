"""What Tallystick costs, beside what the machine allows: `python -m tests.bench` (or `make bench`). Linux only."""
