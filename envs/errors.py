"""The one base class of every error this package raises on purpose."""


class EnvError(ValueError):
    """A network, a policy or samples cannot be used as asked; the message says what to do."""
