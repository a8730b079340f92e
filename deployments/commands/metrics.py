"""`acms metrics`: the store as Prometheus reads it."""

from __future__ import annotations

import click

from prefect_acms.deployments.options import database_option

PORT = 9469
FILES = {"rules": "acms.rules.yml", "dashboard": "grafana.json"}


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, metavar="ADDRESS", help="Listen on this address.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=PORT,
    show_default=True,
    metavar="N",
    help="Listen on this port; 0 takes a free one.",
)
@click.option("--rules", "wanted", flag_value="rules", help="Print alert rules for Prometheus, and serve nothing.")
@click.option("--dashboard", "wanted", flag_value="dashboard", help="Print a dashboard for Grafana, and serve nothing.")
@database_option
def metrics(host: str, port: int, wanted: str | None, database_url: str | None) -> None:
    """Serve the state of the store to Prometheus.

    It goes on until it is interrupted. The path /metrics has the metrics, /health says that the process lives, and
    /ready whether the store can be read (503 if not). The store is only looked at: it is neither made nor migrated.
    Whoever can reach the address can read names of tools and numbers, and nothing of what was done.
    """
    if wanted is not None:
        click.echo(shipped(FILES[wanted]), nl=False)
        return
    from prefect_acms.dao.connections import address, shown
    from prefect_acms.dao.home import database_url as chosen_url
    from prefect_acms.deployments.exporter import Exporter, listening

    url = chosen_url(database_url)
    address(url)
    with listening(host, port, Exporter(url)) as server:
        at = f"[{host}]" if ":" in host else host
        click.echo(f"Serving http://{at}:{server.server_port}/metrics from {shown(url)}. Ctrl-C stops it.")
        server.serve_forever()


def shipped(name: str) -> str:
    """A file that is made for a monitoring system."""
    from importlib.resources import files

    return (files("prefect_acms.deployments") / "monitoring" / name).read_text(encoding="utf-8")
