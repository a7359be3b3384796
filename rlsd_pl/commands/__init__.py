"""What the command line runs: fit, evaluate, sweep, make-privileged; behind ``rlsd-pl`` and ``scripts/``."""
