"""`acms notify`: a channel tried before it is needed, and what channels were not told."""

from __future__ import annotations

import click

from prefect_acms.deployments.options import database_option, json_option

HEAD = ("RUN", "CHANNEL", "TOLD AT", "PROBLEM")


@click.group(invoke_without_command=True)
@click.pass_context
def notify(context: click.Context) -> None:
    """Try a channel of notifications, and list what could not be told."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


@notify.command()
@click.argument("channel")
@json_option
def test(channel: str, *, as_json: bool) -> None:
    """Send a test message to a channel, now.

    CHANNEL is a saved block as TYPE/NAME, as `prefect block ls` lists it. Of a notifier all channels are tried; on
    GitHub an issue is opened, or commented on. The exit code is 2 when there is no such block, 1 when it could not be
    told. The JSON is a list of objects with the key channel.
    """
    from prefect_acms.blocks.notifications import NotificationSettings
    from prefect_acms.deployments.output import emit_json
    from prefect_acms.tasks.channels import open_channels, send
    from prefect_acms.tasks.messages import trial

    settings = NotificationSettings(channels=(channel,))
    found = open_channels(channel, settings)
    for one in found:
        send(one, trial())
        if not as_json:
            click.echo(f"{one.name} has taken a test message.")
    if as_json:
        emit_json([{"channel": one.name} for one in found])


@notify.command("list")
@click.argument("run", default="latest")
@database_option
@json_option
def list_told(run: str, database_url: str | None, *, as_json: bool) -> None:
    """List the channels of a run: when they were told something last, and what went wrong since.

    RUN is its id, a unique part of it, or `latest`. What could not be told is told by the next `acms sweep` or `acms
    reconcile`, for a week. The JSON is a list of objects with the keys run_id, channel, sent_at and problem.
    """
    from prefect_acms.deployments.existing import existing_store
    from prefect_acms.deployments.lookup import find_run
    from prefect_acms.deployments.output import emit_json, emit_table
    from prefect_acms.tasks.marks import marks_of
    from prefect_acms.tasks.reports.text import day_and_time

    found = find_run(existing_store(database_url), run)
    marks = marks_of(found)
    if as_json:
        facts = [(name, mark.sent_at, mark.problem) for name, mark in marks.items()]
        emit_json([{"run_id": found.id, "channel": name, "sent_at": at, "problem": why} for name, at, why in facts])
        return
    rows = [
        (found.id, name, day_and_time(mark.sent_at) if mark.sent_at else "-", mark.problem or "-")
        for name, mark in marks.items()
    ]
    emit_table(HEAD, rows, "No channel was told anything about this run.")
