"""The one error a user is meant to read, and what it repeats of others."""


class PlumblineError(Exception):
    """Bad input or a failed check, told in one sentence: what is wrong, where, and what to do.

    The command line prints the sentence and exits with status 2; anything else that escapes is a bug and keeps its traceback.
    """


class PassingError(PlumblineError):
    """A failure of something outside that may pass by itself, so that trying again makes sense."""


class BusyError(PlumblineError):
    """Another process works on the run folder: a scheduled round then does nothing."""


def in_short(error: object, most: int = 200) -> str:
    """What somebody else's error says, on one line and cut after so many characters: part of a sentence of ours."""
    line = " ".join(str(error).split())
    return line if len(line) <= most else f"{line[:most]} …"
