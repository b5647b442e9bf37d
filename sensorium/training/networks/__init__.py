"""Our own small networks, one file each."""
