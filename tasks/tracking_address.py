"""What MLFLOW_TRACKING_URI may be; asks nobody."""

import os
from importlib.metadata import entry_points
from pathlib import Path

from data_contracts.errors import PlumblineError
from data_contracts.mask import is_http

_DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
_OTHERS = ("databricks", "databricks-uc", "uc")


def check_uri() -> None:
    """Raises PlumblineError for a MLFLOW_TRACKING_URI that MLflow can make nothing of. One that is away is another matter: it is
    told later."""
    uri = os.environ.get("MLFLOW_TRACKING_URI", "")
    scheme = uri.partition(":")[0]
    if not uri or is_http(uri) or scheme in (*_OTHERS, *(plugin.name for plugin in entry_points(group="mlflow.tracking_store"))):
        return
    kind, given, rest = uri.partition("://")
    if not given or kind.partition("+")[0] not in _DATABASES or not rest:
        raise PlumblineError(
            "MLFLOW_TRACKING_URI is neither a server's address nor a database's: give one such as "
            "http://127.0.0.1:5000 or sqlite:////data/mlflow.db, or unset it"
        )
    folder = Path(rest.removeprefix("/").partition("?")[0]).parent
    if kind == "sqlite" and not folder.is_dir():
        raise PlumblineError(
            f"MLFLOW_TRACKING_URI names a file in {folder}, but there is no such folder: make it, or name another"
        )
