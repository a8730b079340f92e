"""The kill campaign as a program: `python tests/campaigns/kills.py --kills 300 --seed 1 --jobs 2` prints its figures.

Each kill follows from the seed and its number alone: `--only NUMBER` does one of them again. A line of JSON a kill is
written to `kills.jsonl` in the folder, and the folder of a kill that failed is kept there.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from contextlib import nullcontext, suppress
from pathlib import Path

import click

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))


@click.command(help=__doc__)
@click.option("--kills", "number", default=20, show_default=True, help="How many cases.")
@click.option("--seed", default="1", show_default=True, help="What everything is drawn from.")
@click.option("--only", multiple=True, type=int, help="Only the case of this number; may be given several times.")
@click.option("--jobs", default=2, show_default=True, help="How many at a time.")
@click.option("--folder", type=click.Path(path_type=Path), help="Where; a new temporary folder without it.")
def main(number: int, seed: str, only: tuple[int, ...], jobs: int, folder: Path | None) -> None:
    """Carry the kills out, and say what came of them."""
    place = folder or Path(tempfile.mkdtemp(prefix="acms-kills-"))
    place.mkdir(parents=True, exist_ok=True)
    os.environ["PREFECT_HOME"] = str(place / "prefect")
    os.environ |= {"PREFECT_SERVER_ANALYTICS_ENABLED": "false", "DO_NOT_TRACK": "1"}
    import postgresql  # noqa: PLC0415
    from campaign_kills import Campaign  # noqa: PLC0415 - Prefect reads its settings when it is imported
    from campaign_records import figures  # noqa: PLC0415
    from prefect.settings import PREFECT_API_URL  # noqa: PLC0415
    from prefect_harness import prefect_harness  # noqa: PLC0415

    began, records = time.monotonic(), []
    with (
        postgresql.cluster() if postgresql.installed() else nullcontext() as cluster,
        prefect_harness(cluster),
        Campaign(place, str(PREFECT_API_URL.value()), seed) as campaign,
        (place / "kills.jsonl").open("a", encoding="utf-8") as lines,
        suppress(KeyboardInterrupt),  # the figures of what was done are told all the same
    ):
        for record in campaign.carry_out_all(only or range(number), jobs):
            records.append(record)
            lines.write(json.dumps(record.as_dict()) + "\n")
            lines.flush()
            click.echo(str(record) if record.problems else record.short)
    click.echo("\n" + "\n".join(figures(records, time.monotonic() - began)))
    click.echo(f"\nin {place}")
    sys.exit(any(record.problems for record in records))


if __name__ == "__main__":
    main()
