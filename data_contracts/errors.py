"""The one error a user is meant to read."""


class PlumblineError(Exception):
    """Bad input or a failed check, told in one sentence: what is wrong, where, and what to do.

    The command line prints the sentence and exits with status 2; anything else that escapes is a bug and keeps its traceback.
    """


class PassingError(PlumblineError):
    """A failure of something outside that may pass by itself, so that trying again makes sense."""


class BusyError(PlumblineError):
    """Another process works on the run folder: a scheduled round then does nothing."""
