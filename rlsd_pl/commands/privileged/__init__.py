"""Privileged data: reference solutions that a verifier passed, or documents, as one more column of a table.

Nothing is imported here: the worker that solves equations imports this package too, and must not pay for torch.
"""
