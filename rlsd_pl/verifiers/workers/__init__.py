"""Worker processes for what may hang, crash or fill memory. Nothing is imported here: the workers start from it."""
