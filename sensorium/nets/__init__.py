"""Named arrays to named arrays: one file per engine."""
