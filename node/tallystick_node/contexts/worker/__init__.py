"""The process around the desk, and its supervisor in the node. DESIGN.md says why it is as it is."""
