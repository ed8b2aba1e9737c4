"""What shared contexts cost, beside raw pycrdt and stock Yjs."""
