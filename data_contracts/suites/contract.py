"""A contract: a named bound with a plain reason, and what happens where it is broken.

Contracts see only numbers: `derive` in each suite turns texts and token ids into counts first. So no text of a model ever reaches
Data Docs, whose pages print values unescaped, and every contract reads "this count lies between these bounds".
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Literal

from data_contracts.config_validate import ContractConfig, Severity
from data_contracts.errors import PlumblineError
from data_contracts.overlap import EvaluationTexts
from data_contracts.store import digest

if TYPE_CHECKING:
    from great_expectations.expectations import Expectation

# reasons that several suites give
TOO_LONG = "Over-long rows are set aside and counted, never cut silently."
TWICE = "Two rows with one id cannot be told apart later."
FORGED = "A control token inside an answer would begin or end a turn once the answer stands in a conversation."
GARBLED = "Replacement and control characters come from text that was decoded wrongly or cut within a character."

Scope = Literal["row", "mean", "count"]  # each row's number; the mean over the clean rows; how many clean rows there are


@dataclass(frozen=True)
class Codec:
    """The tokenizer as the contracts need it: whole columns at once."""

    encode_prompts: Callable[[Sequence[Any]], list[list[int]]]
    prompt_sizes: Callable[[Sequence[Any]], list[int | None]]  # in tokens; None: the chat template refuses the conversation
    decode_answers: Callable[[Sequence[Sequence[int]]], list[str]]


@dataclass(frozen=True)
class Limits:
    """What the contracts must know about the tokenizer, the context and the policy."""

    max_tokens: int  # prompt and answer together
    end_ids: tuple[int, ...]  # at any of which the policy ends an answer by itself
    bos_token_id: int | None  # None: the tokenizer has none, or uses its end-of-sequence token for it
    bos_per_prompt: int  # how often the chat template itself writes it: 0 or 1
    control_tokens: tuple[str, ...]
    control_ids: tuple[int, ...]
    tokenizer: str = ""  # what decides the codec; "" where the dataset's parents say it: the hash of its checkpoint
    policy: str | None = None  # hash of the checkpoint that must have written the answers; None: not checked
    engine_tokens: int | None = None  # what the engine takes, prompt and answer together; None: nobody is asked
    codec: Codec | None = field(default=None, repr=False)  # None: the contracts on round trips are left out
    evaluation: EvaluationTexts | None = field(default=None, repr=False)  # what must not be trained on; None: nothing

    def facts(self) -> dict[str, Any]:
        """What decides a verdict, for a dataset's key."""
        apart = ("codec", "evaluation", "engine_tokens")
        plain = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in apart}
        plain |= {} if self.engine_tokens is None else {"engine_tokens": self.engine_tokens}
        texts = self.evaluation
        return plain | ({"evaluation": digest([texts.texts, texts.ngram, texts.similarity])} if texts else {})


@dataclass(frozen=True)
class Contract:
    """`column` lies in [low, high]: in each row, or in the mean over the clean rows. A bound of None does not bind.

    Severity, where it is broken: `quarantine` sets the row aside, `fail` stops the run, `warn` tells, `off` is not looked at.
    """

    name: str
    why: str
    scope: Scope
    column: str
    low: float | None
    high: float | None
    severity: Severity


def per_row(
    name: str, why: str, column: str, low: float | None = None, high: float | None = None, severity: Severity = "quarantine"
) -> Contract:
    return Contract(name, why, "row", column, low, high, severity)


def mean_within(name: str, why: str, column: str, low: float | None = None, high: float | None = None) -> Contract:
    return Contract(name, why, "mean", column, low, high, "warn")


def rows_at_least(name: str, why: str, low: int) -> Contract:
    return Contract(name, why, "count", "", low, None, "fail")


def configured(contracts: Sequence[Contract], settings: Mapping[str, ContractConfig]) -> list[Contract]:
    """The contracts as the user wants them, without those that are off.

    Raises PlumblineError for a setting that makes no sense. Names of other datasets' contracts are passed over.
    """
    made = [_configured(contract, settings.get(contract.name)) for contract in contracts]
    return [contract for contract in made if contract.severity != "off"]


def check_names(known: Sequence[str], settings: Mapping[str, ContractConfig]) -> None:
    """Raises PlumblineError for a setting of a contract that no suite has."""
    for name in settings:
        if name not in known:
            near = get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else "`plumbline validate --contracts` lists them"
            raise PlumblineError(f"validate.contracts names {name}, which is no contract: {hint}")


def _configured(contract: Contract, setting: ContractConfig | None) -> Contract:
    if setting is None:
        return contract
    given = {key: value for key, value in setting.model_dump().items() if value is not None}
    wanted = replace(contract, **given)
    where = f"validate.contracts.{contract.name}"
    if contract.scope != "row" and wanted.severity == "quarantine":
        raise PlumblineError(f"{where}.severity is quarantine, but it looks at all rows together: use fail, warn or off")
    if contract.scope == "count" and given.keys() - {"severity"}:
        raise PlumblineError(f"{where} takes its bound from validate.min_rows or validate.max_quarantined: set that")
    if wanted.severity != "off" and wanted.low is None and wanted.high is None:
        raise PlumblineError(f"{where} has no bound of its own: give it low, high or both")
    if wanted.low is not None and wanted.high is not None and wanted.low > wanted.high:
        raise PlumblineError(f"{where}: low {wanted.low:g} is above high {wanted.high:g}, so no row could pass")
    return wanted


def expectation(contract: Contract) -> "Expectation":
    """The Great Expectations expectation that decides the contract."""
    import great_expectations.expectations as gxe

    named: dict[str, Any] = {
        "meta": {"contract": contract.name},
        "description": f"{contract.name}: {contract.why}",
        "severity": "warning" if contract.severity == "warn" else "critical",
    }
    if contract.scope == "count":
        return gxe.ExpectTableRowCountToBeBetween(min_value=contract.low, **named)
    bounds = {"column": contract.column, "min_value": contract.low, "max_value": contract.high}
    if contract.scope == "mean":
        return gxe.ExpectColumnMeanToBeBetween(**bounds, **named)
    return gxe.ExpectColumnValuesToBeBetween(**bounds, **named)
