"""Where a person finds a run on MLflow's pages."""

from pathlib import Path
from urllib.parse import urlsplit

from tasks.tracking import run_id
from tasks.tracking_client import open_client, tracking_uri


def links(run: Path) -> dict[str, str]:
    """Title and address of the run and of its report; empty where MLflow writes to a file, so that there is no page to open.

    Raises whatever the tracking server raises.
    """
    uri, known = tracking_uri(run), run_id(run)
    if known is None or not uri.startswith("http"):
        return {}
    parts = urlsplit(uri)
    address = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}".rstrip("/")  # never a password in a link
    page = f"{address}/#/experiments/{open_client(uri).get_run(known).info.experiment_id}/runs/{known}"
    found = {"MLflow run": page}
    if (run / "report.html").exists():
        found["report"] = f"{page}/artifacts/report.html"
    return found
