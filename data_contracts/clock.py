"""When something happened, as files say it: UTC, to the second."""

import calendar
import time

_FORM = "%Y-%m-%dT%H:%M:%SZ"


def now() -> str:
    return time.strftime(_FORM, time.gmtime())


def since_1970(stamp: str) -> int:
    """What `now` wrote, in seconds since 1970."""
    return calendar.timegm(time.strptime(stamp, _FORM))
