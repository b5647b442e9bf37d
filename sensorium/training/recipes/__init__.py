"""How to train each task: one module per trainable task, of the same name."""
