"""Errors that a user can act on."""


class SetupError(ValueError):
    """A mistake in data or settings, found before training: says what was got, what was expected, what to set."""
