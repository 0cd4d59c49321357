"""The exception and the warning whose messages are meant for users."""


class InputError(ValueError):
    """Invalid input by the user.

    The message is one line: what is wrong, where, and how to fix it. The command line prints it
    and exits with code 2; a traceback is shown only on request. Line breaks in what the message
    repeats of the input, such as the names of keys, become spaces.
    """

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.splitlines()))


class RenamedSettingWarning(DeprecationWarning):
    """A setting was given under its former name."""
