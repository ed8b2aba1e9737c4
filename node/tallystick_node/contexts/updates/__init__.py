"""What an update says, without pycrdt: structure, admission, state vectors, deletions, digests.

Pure. Bytes that others wrote are read here before anything else sees them. DESIGN.md says what is refused and why.
"""
