"""How fast a stage goes and how long it still takes, in words."""

import time


class Pace:
    """Reckons from the first report on: what lies before it (loading, an earlier attempt's steps) says nothing about the rest."""

    def __init__(self) -> None:
        self._first: tuple[float, int] | None = None

    def words(self, done: int, total: int, tokens_per_second: float | None = None) -> str:
        """For example "37 of 100, 12,300 tokens/s, 1:05 left"; what is not known is left out."""
        now = time.monotonic()
        began, before = self._first = self._first or (now, done)
        said = [f"{done:,} of {total:,}", *speed(tokens_per_second)]
        if before < done < total:
            minutes, seconds = divmod(round((now - began) / (done - before) * (total - done)), 60)
            hours, minutes = divmod(minutes, 60)
            said.append(f"{hours}:{minutes:02}:{seconds:02} left" if hours else f"{minutes}:{seconds:02} left")
        return ", ".join(said)


def speed(tokens_per_second: float | None) -> list[str]:
    return [] if tokens_per_second is None else [f"{tokens_per_second:,.0f} tokens/s"]
