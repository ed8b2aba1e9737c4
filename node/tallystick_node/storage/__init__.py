"""What a node keeps on disk: the journal, the state machine's database, the data folder's identity. See DESIGN.md."""
