"""The merged half, part by part."""
