"""One PostgreSQL for both servers: each gets a schema of its own, since their tables share names.

The address holds a password: it goes to the servers in their environment, never into a command line, a file or a message.
"""

from typing import TYPE_CHECKING

from data_contracts.errors import PlumblineError

if TYPE_CHECKING:
    from sqlalchemy.engine import URL

SCHEMAS = ("prefect", "mlflow")


def parse(address: str) -> "URL":
    """Raises PlumblineError for anything but a PostgreSQL address with a database."""
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        url = make_url(address)
    except (ArgumentError, ValueError):
        raise PlumblineError("--database is no database address: write postgresql://USER:PASSWORD@HOST:PORT/DATABASE") from None
    if url.get_backend_name() not in ("postgresql", "postgres") or not url.database:
        raise PlumblineError(f"--database is {show(url)}: write postgresql://USER:PASSWORD@HOST:PORT/DATABASE")
    return url.set(drivername="postgresql")


def show(url: "URL") -> str:
    """The address without user, password and options."""
    return f"{url.drivername}://{url.host or url.query.get('host', '')}{f':{url.port}' if url.port else ''}/{url.database or ''}"


def prepare(url: "URL") -> None:
    """Make the two schemas. Raises PlumblineError if the database cannot be reached, does not allow it, or keeps no Unicode."""
    import psycopg2

    try:
        connection = psycopg2.connect(url.render_as_string(hide_password=False), connect_timeout=10)
        try:
            encoding = connection.get_parameter_status("server_encoding")
            if encoding != "UTF8":  # MLflow's server would answer 500 to the first arrow in a text
                raise PlumblineError(
                    f"the database {show(url)} is encoded in {encoding}, which cannot hold every text: name one that was made "
                    "with createdb --encoding UTF8 --template template0"
                )
            with connection, connection.cursor() as cursor:
                for schema in SCHEMAS:
                    cursor.execute(f"CREATE SCHEMA IF NOT EXISTS {schema}")
        finally:
            connection.close()
    except psycopg2.Error as error:
        why = " ".join(str(error).split())
        if url.password:
            why = why.replace(str(url.password), "…")
        raise PlumblineError(
            f"the database {show(url)} cannot be used ({why[:300]}): correct --database, or let its owner allow schemas"
        ) from None


def prefect_environment(url: "URL") -> dict[str, str]:
    query = {"ssl" if key == "sslmode" else key: value for key, value in url.query.items()}  # asyncpg's name for it
    address = url.set(drivername="postgresql+asyncpg", query=query).render_as_string(hide_password=False)
    return {
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": address,
        "PREFECT_SERVER_DATABASE_SQLALCHEMY_CONNECT_ARGS_SEARCH_PATH": "prefect, public",
    }


def mlflow_environment(url: "URL") -> dict[str, str]:
    url = url.set(drivername="postgresql+psycopg2").update_query_dict({"options": "-csearch_path=mlflow,public"})
    return {"MLFLOW_BACKEND_STORE_URI": url.render_as_string(hide_password=False)}
