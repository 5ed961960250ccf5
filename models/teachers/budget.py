"""What a run may still spend on its teacher."""

from data_contracts.config_teacher import Budget, Price
from data_contracts.errors import PlumblineError
from models.journal import Journal, Reply, Request


class Allowance:
    """Holds back the dearest that each request under way may turn out, so that the budget is kept and not noticed too late.

    A request's tokens are bounded by its `max_tokens` and by its bytes: at first half a token a byte, later the most that the
    server has counted.
    """

    def __init__(self, budget: Budget | None, price: Price | None, journal: Journal) -> None:
        self._budget, self._price = budget, price or Price(input=0.0, output=0.0)
        self.tokens, self.money = journal.spent()
        self._held: dict[str, int] = {}  # bytes of the requests under way
        self._written = 0  # max_tokens of one request
        self._ratio = 0.5  # tokens a byte

    def reserve(self, request: Request) -> bool:
        """Whether `request` may be started now; if so, what it can cost is held back until `settle`."""
        if self._budget is None:
            return True
        self._written = max(self._written, int(request.sampling["max_tokens"]))
        held = [*self._held.values(), _bytes(request)]
        read, written = int(sum(held) * self._ratio), len(held) * self._written
        fits = self._budget.tokens is None or self.tokens + read + written <= self._budget.tokens
        fits &= self._budget.money is None or self.money + self._price.of(read, written) <= self._budget.money
        if fits:
            self._held[request.key] = held[-1]
        return fits

    def settle(self, request: Request, reply: Reply | None) -> None:
        """The request is no longer under way; `reply` is None if it will be asked again.

        Raises PlumblineError if there is a budget and the server does not say what the reply took.
        """
        size = self._held.pop(request.key, 0)
        if self._budget is None or reply is None:
            return
        if reply.input_tokens is None or reply.output_tokens is None:
            raise PlumblineError(
                "the teacher's server does not say how many tokens its replies take (no `usage`), so that teacher.budget cannot "
                "be kept: remove it, then resume the run"
            )
        self.tokens += reply.input_tokens + reply.output_tokens
        self.money += self._price.of(reply.input_tokens, reply.output_tokens)
        self._ratio = max(self._ratio, reply.input_tokens / max(size, 1))

    def refusal(self, left: int) -> PlumblineError:
        assert self._budget is not None
        spent = [f"{self.tokens} of {self._budget.tokens} tokens"] if self._budget.tokens else []
        spent += [f"{self.money:.4g} of {self._budget.money:g} in money"] if self._budget.money else []
        return PlumblineError(
            f"teacher.budget is used up: this run has spent {' and '.join(spent)}, and the next of {left} requests might not "
            "fit; every reply is kept, so raise the budget (--set teacher.budget…) and resume the run"
        )


def _bytes(request: Request) -> int:
    return sum(len(m["content"].encode("utf-8", "replace")) + 16 for m in request.messages)
