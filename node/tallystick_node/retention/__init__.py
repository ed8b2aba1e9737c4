"""Retention: what of agents' logs is kept, archiving what is not, and having it removed.

[store | planner | keeper] -> [looking | archiving] -> [plan | archive_file | archives]
"""
