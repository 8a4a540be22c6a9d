"""Training one run: losses, schedule, loop, metrics, checkpoints. Tensors in, records out."""
