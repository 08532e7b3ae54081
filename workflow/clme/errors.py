"""The error that is shown to a person."""


class UserError(Exception):
    """Input or surroundings are wrong, and the user can mend it.

    The message is one line that says what is wrong, where, and what to do. The command line prints
    it without a traceback and exits with status 2.
    """


def first_line(error: BaseException) -> str:
    """Return the first line of what a library's error says, for a message of one line."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
