"""Schemas on a node: what a document may say, what it says of a value, how two compare, and who is checked when."""
