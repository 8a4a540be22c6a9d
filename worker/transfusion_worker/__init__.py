"""Workers: they claim jobs, do them in child processes, and write down what came of it."""
