"""The merged half: CRDT documents that agents share. DESIGN.md says how it is held."""
