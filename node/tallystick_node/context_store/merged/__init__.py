"""The use cases of contexts that are merged: opening, editing, reading, and being there."""
