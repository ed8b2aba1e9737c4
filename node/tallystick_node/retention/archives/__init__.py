"""Where what is to be removed is written first: a folder, or an S3-compatible store.

opening -> [folder | s3] -> port
"""
