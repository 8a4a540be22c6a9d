"""Training one run: losses, schedule, loop, metrics and checkpoints. Tensors in, records out; no disk but checkpoints."""
