"""Readers of foreign model formats, one file each."""
