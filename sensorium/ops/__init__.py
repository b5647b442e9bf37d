"""Pure numpy: boxes, sequences, metrics."""
