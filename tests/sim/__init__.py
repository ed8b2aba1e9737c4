"""The deterministic harness: real consensus and journal under a virtual clock, network and disk."""
