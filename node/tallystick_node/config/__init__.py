"""What a node is told at its start: one table of settings, three places to set them.

    values <- readers <- settings <- loading

A leaf: it imports the standard library and nothing of ours.
"""
