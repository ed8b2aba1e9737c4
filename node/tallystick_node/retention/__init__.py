"""Retention: what of agents' logs is kept, archiving what is not, and having it removed.

store -> keeper -> [looking | archiving] -> plan        archives/ and archive_file: leaves
"""
