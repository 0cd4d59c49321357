"""The one exception that a person is meant to read."""


class InputError(ValueError):
    """Something that the user gave is wrong.

    The message is one line: what is wrong, where, and what to do. The command line prints it and
    exits with code 2; it shows no traceback unless asked to.
    """
