"""`plumbline sweep CONFIG`."""

from pathlib import Path
from typing import Annotated

import typer

from flows.outputs import to_folder


def sweep(
    config: Annotated[Path, typer.Argument(help="A YAML file with base and grid; see configs/paper_grid.yaml.")],
    run_dir: Annotated[Path | None, to_folder("Where the sweep lives; runs/<name> if not given.")] = None,
) -> None:
    """Run a grid of configurations, and compare them.

    Run again, it resumes, and tries failed cells anew.
    """
    from data_contracts.config_sweep import load_sweep
    from data_contracts.errors import PlumblineError

    plan = load_sweep(config)
    folder = (run_dir or Path("runs") / plan.name).resolve()
    from flows.display import console
    from flows.sweep import execute_sweep
    from tasks.sweep_tables import FILES, render

    results = execute_sweep(plan, folder)
    for part in render(plan, results):
        console().print(part)
    typer.echo(f"{folder}: {', '.join(FILES)}; each cell is a run in cells/")
    failed = [r for r in results if r.state == "failed"]
    if failed:
        raise PlumblineError(
            f"{len(failed)} of {len(results)} cells failed, the first {failed[0].label} ({failed[0].failure}): "
            "correct what is wrong and give the same command again"
        )
