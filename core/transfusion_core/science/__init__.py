"""The science of the platform: pure functions of torch and numpy, which know nothing of jobs or databases."""
