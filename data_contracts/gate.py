"""The gate: run a suite over a frame of numbers with Great Expectations, and say which rows broke which contract.

Every run is added to a Data Docs site in `docs`, which keeps its results beside its pages (`docs/.store`), so that all gates of
a run, also those of other processes and earlier days, share one index.
"""

import html
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from data_contracts.suites.contract import Contract, expectation

if TYPE_CHECKING:
    from great_expectations import ExpectationSuite
    from great_expectations.core import ExpectationValidationResult
    from great_expectations.data_context import AbstractDataContext

_SITE = "run"


@dataclass(frozen=True)
class ContractResult:
    contract: Contract
    kept: bool
    checked: int
    rows: list[int]  # positions of the rows that broke it, ascending; empty for a contract on all rows together
    observed: float | None  # the measured value of a contract on all rows together


@dataclass(frozen=True)
class GateResult:
    contracts: list[ContractResult]  # in the order given
    checked: int
    broken: list[list[str]] = field(repr=False)  # per row: the names of the contracts that set it aside

    @property
    def clean(self) -> "np.ndarray[tuple[int], np.dtype[np.bool_]]":
        return np.fromiter((not names for names in self.broken), dtype=bool, count=self.checked)


def gate(
    checks: pd.DataFrame,
    ids: Sequence[str],
    contracts: Sequence[Contract],
    docs: Path,
    label: str,
    name: str,
    nullable: Collection[str] = (),
) -> GateResult:
    """Validate `checks` (one row of numbers per dataset row, named by `ids`), and add the result to the Data Docs.

    There it stands as suite `name` under `label`. A null in a `nullable` column says that the contract is not about that row.

    Raises RuntimeError, which is a bug, for a null elsewhere (Great Expectations would let it pass) and for an expectation that
    could not be evaluated.
    """
    from great_expectations import ExpectationSuite

    nulls = [column for column in checks.columns if column not in nullable and checks[column].isna().any()]
    if nulls:
        raise RuntimeError(f"the columns {nulls} hold nulls, which every contract would let pass")
    # Data Docs print index values unescaped (found by test), and ids come from users' files
    frame = checks.assign(row=np.arange(len(checks)), row_id=[html.escape(str(i)) for i in ids])
    suite = ExpectationSuite(name=name, expectations=[expectation(contract) for contract in contracts])
    found = {r.expectation_config.meta["contract"]: r for r in _validate(frame, suite, docs, label)} if contracts else {}
    results = [_read(contract, found[contract.name], len(checks)) for contract in contracts]
    broken: list[list[str]] = [[] for _ in range(len(checks))]
    for result in results:
        if result.contract.severity != "warn":
            for row in result.rows:
                broken[row].append(result.contract.name)
    return GateResult(results, len(checks), broken)


def _read(contract: Contract, result: "ExpectationValidationResult", checked: int) -> ContractResult:
    if result.exception_info.get("raised_exception") or any(
        isinstance(info, dict) and info.get("raised_exception") for info in result.exception_info.values()
    ):
        raise RuntimeError(f"contract {contract.name} could not be evaluated: {result.exception_info}")
    # unexpected_list stops at 200 values; only the index list names every row
    rows = sorted({int(entry["row"]) for entry in result.result.get("unexpected_index_list") or []})
    if contract.scope == "row" and len(rows) != result.result.get("unexpected_count", 0):
        raise RuntimeError(f"contract {contract.name} broke {result.result['unexpected_count']} rows but names {len(rows)}")
    observed = result.result.get("observed_value")
    value = None if observed is None else float(observed)
    return ContractResult(contract, bool(result.success), checked, rows, value)


def _validate(frame: pd.DataFrame, suite: "ExpectationSuite", docs: Path, label: str) -> list[Any]:
    context = _context(docs)
    import great_expectations as gx
    from great_expectations.checkpoint import UpdateDataDocsAction

    asset = context.data_sources.add_or_update_pandas("plumbline").add_dataframe_asset(suite.name)
    checkpoint = context.checkpoints.add_or_update(
        gx.Checkpoint(
            name=suite.name,
            validation_definitions=[
                context.validation_definitions.add_or_update(
                    gx.ValidationDefinition(
                        name=suite.name,
                        data=asset.add_batch_definition_whole_dataframe("all rows"),
                        suite=context.suites.add_or_update(suite),
                    )
                )
            ],
            result_format={"result_format": "COMPLETE", "unexpected_index_column_names": ["row", "row_id"]},
            actions=[UpdateDataDocsAction(name="data docs", site_names=[_SITE])],
        )
    )
    outcome = checkpoint.run(batch_parameters={"dataframe": frame}, run_id=gx.RunIdentifier(run_name=label))
    (result,) = outcome.run_results.values()
    return list(result.results)


def _context(docs: Path) -> "AbstractDataContext":
    """A fresh in-memory context (4 ms) whose results and pages live in `docs`.

    Not cached: Great Expectations remembers the context made last as *the* project, so a cached one would write elsewhere.
    """
    import great_expectations as gx
    from great_expectations.data_context.types.base import DataContextConfig

    def folder(name: str) -> dict[str, str]:
        return {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(docs.absolute() / name)}

    def drawn_by(view: str) -> dict[str, dict[str, str]]:
        return {"view": {"module_name": "data_contracts.pages", "class_name": view}}

    memory = {"class_name": "InMemoryStoreBackend"}
    config = DataContextConfig(
        expectations_store_name="expectations_store",
        validation_results_store_name="validation_results_store",
        checkpoint_store_name="checkpoint_store",
        stores={
            "expectations_store": {"class_name": "ExpectationsStore", "store_backend": folder(".store/expectations")},
            "validation_results_store": {"class_name": "ValidationResultsStore", "store_backend": folder(".store/results")},
            "validation_definition_store": {"class_name": "ValidationDefinitionStore", "store_backend": memory},
            "checkpoint_store": {"class_name": "CheckpointStore", "store_backend": memory},
        },
        data_docs_sites={
            _SITE: {
                "module_name": "data_contracts.pages",
                "class_name": "Site",
                "show_how_to_buttons": False,
                "store_backend": folder(""),
                "site_index_builder": {"class_name": "DefaultSiteIndexBuilder", **drawn_by("IndexPageView")},
                "site_section_builders": {
                    "expectations": drawn_by("PageView"),
                    "validations": drawn_by("PageView"),
                    "profiling": "None",  # it would look at every result again, for pages that there are none of
                },
            }
        },
        analytics_enabled=False,
    )
    context = gx.get_context(project_config=config, mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    return context
