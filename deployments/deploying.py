"""From the catalog to deployments on a server; what a person has changed there since then stays as they changed it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, NamedTuple

from prefect_acms.canonical.errors import InvalidValue, ServerUnavailable
from prefect_acms.dao.connections import address
from prefect_acms.dao.redaction import KNOWN
from prefect_acms.deployments.catalog import CATALOG, Deployable, Schedule, deployable

if TYPE_CHECKING:
    from prefect.client.orchestration import PrefectClient
    from prefect.client.schemas.actions import DeploymentScheduleCreate
    from prefect.client.schemas.responses import DeploymentResponse
    from prefect.deployments.runner import RunnerDeployment

SECRET = "acms-database-url"  # noqa: S105 - the name of the block, not what is in it
"""The Secret block that a database URL with a password is saved in."""

_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
_EVERY = re.compile(r"every\s+(\d+)\s*([smhd]?)")


@dataclass(frozen=True)
class Wanted:
    """What the caller wants otherwise than the catalog has it, by the names of deployments."""

    schedules: Mapping[str, tuple[Schedule, ...]] = field(default_factory=dict)
    """Are switched on, in place of what was there."""
    parameters: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    job_variables: Mapping[str, Any] = field(default_factory=dict)
    keeps_pool: bool = False
    """Whether a deployment that is in a work pool already stays in that one."""


class Applied(NamedTuple):
    """A deployment as it is on the server now."""

    row: Deployable
    full_name: str
    id: str
    pool: str


def schedules_wanted(given: Sequence[str], timezone: str) -> dict[str, tuple[Schedule, ...]]:
    """Read `NAME` (the schedule of the catalog) and `NAME=WHEN`; raises UnknownName or InvalidValue."""
    wanted: dict[str, tuple[Schedule, ...]] = {}
    for entry in given:
        name, separator, when = entry.partition("=")
        row = deployable(name.strip())
        found = (schedule_of(when.strip(), timezone),) if separator else row.schedules
        if not found:
            raise InvalidValue(field="schedule", value=entry, expected=f"{row.name}=WHEN, as it has none of its own")
        wanted[row.name] = (*wanted.get(row.name, ()), *found)
    return wanted


def schedule_of(when: str, timezone: str) -> Schedule:
    """Read a cron expression, `every 90 s` (or m, h, d), or an RRULE; raises InvalidValue."""
    from pydantic import ValidationError

    if every := _EVERY.fullmatch(when):
        schedule = Schedule(interval=float(every[1]) * _UNITS[every[2]], timezone=timezone)
    elif when.upper().startswith(("FREQ=", "DTSTART", "RRULE:")):
        schedule = Schedule(rrule=when, timezone=timezone)
    else:
        schedule = Schedule(cron=when, timezone=timezone)
    try:
        _prefects(schedule, active=True)
    except (ValidationError, ValueError):
        expected = "a cron expression, `every 90 s` (or m, h, d), or an RRULE, and a timezone such as Europe/Berlin"
        raise InvalidValue(field="schedule", value=f"{when} ({timezone})", expected=expected) from None
    return schedule


def parameters_wanted(given: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Read `NAME.parameter=JSON`; what is no JSON is text. Raises UnknownName or InvalidValue."""
    wanted: dict[str, dict[str, Any]] = {}
    for entry in given:
        key, separator, text = entry.partition("=")
        name, dot, parameter = key.partition(".")
        row = deployable(name.strip())
        known = row.load().parameters.properties if separator and dot else {}
        if parameter.strip() not in known:
            expected = f"NAME.parameter=VALUE with one of {', '.join(row.load().parameters.properties)}"
            raise InvalidValue(field="parameter", value=entry, expected=expected)
        wanted.setdefault(row.name, {})[parameter.strip()] = _json_or_text(text)
    return wanted


def _json_or_text(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


async def store_variables(url: str | None) -> dict[str, Any]:
    """The job variables by which runs find that store; a URL with a password is saved as a Secret block for it.

    So the server's database holds it encrypted, and a deployment only names it.
    """
    from prefect.blocks.system import Secret

    if url is None:
        return {}
    password = address(url).password
    if password is None:
        return {"env": {"ACMS_DATABASE_URL": url}}
    KNOWN.learn(password)
    await Secret(value=url).save(SECRET, overwrite=True)
    return {"env": {"ACMS_DATABASE_URL": f"{{{{ prefect.blocks.secret.{SECRET} }}}}"}}


async def deploy(client: PrefectClient, pool: str, wanted: Wanted | None = None) -> list[Applied]:
    """Make or update every deployment of the catalog, in that pool, or the one it is in where the caller wants that.

    Parameters, job variables and schedules that a deployment on the server has stay, where the caller wants no others.
    The types of our blocks are made known too: the form of a run chooses among them.
    """
    from prefect.settings import PREFECT_API_URL

    from prefect_acms.blocks import registration
    from prefect_acms.tasks.prefect_server import UNREACHABLE, problem_of

    wanted = wanted or Wanted()
    try:
        for name in registration.__all__:
            await getattr(registration, name).aregister_type_and_schema(client=client)
        return [await _apply(client, row, pool, wanted) for row in CATALOG]
    except UNREACHABLE as trouble:
        raise ServerUnavailable(url=PREFECT_API_URL.value(), problem=problem_of(trouble)) from trouble


async def _apply(client: PrefectClient, row: Deployable, pool: str, wanted: Wanted) -> Applied:
    from prefect.client.schemas.objects import VersionInfo

    before = await deployed(client, row)
    pool = (before.work_pool_name if before and wanted.keeps_pool else None) or pool
    deployment = await build(row, pool, wanted, before)
    # else Prefect would tell of the git repository that the caller happens to be in
    ours = VersionInfo(type="prefect:simple", version=version("prefect-acms"))
    return Applied(row, deployment.full_name, str(await deployment.aapply(version_info=ours)), pool)


async def deployed(client: PrefectClient, row: Deployable) -> DeploymentResponse | None:
    """The deployment of that row that is on the server already, or None."""
    from prefect.exceptions import ObjectNotFound

    try:
        return await client.read_deployment_by_name(f"{row.load().name}/{row.name}")
    except ObjectNotFound:
        return None


async def build(
    row: Deployable, pool: str | None, wanted: Wanted, before: DeploymentResponse | None = None
) -> RunnerDeployment:
    """The deployment as Prefect has it, given the one that is there already."""
    from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy
    from prefect.types.entrypoint import EntrypointType

    schedules = [_prefects(schedule, active=True) for schedule in wanted.schedules.get(row.name, ())]
    if before is None and not schedules:
        schedules = [_prefects(schedule, active=False) for schedule in row.schedules]
    one = ConcurrencyLimitConfig(limit=1, collision_strategy=ConcurrencyLimitStrategy.CANCEL_NEW)
    was_served = before is not None and before.work_pool_name is None
    deployment = await row.load().ato_deployment(
        name=row.name,
        # who serves pauses it at the end, which is nobody's wish
        paused=False if was_served else before.paused if before else None,
        description=row.description,
        tags=list(row.tags),
        parameters={**row.parameters, **(before.parameters if before else {}), **wanted.parameters.get(row.name, {})},
        concurrency_limit=one if row.one_at_a_time else None,
        version=version("prefect-acms"),
        work_pool_name=pool,
        job_variables=_merged(before.job_variables or {}, wanted.job_variables) if before else {**wanted.job_variables},
        entrypoint_type=EntrypointType.MODULE_PATH,
    )
    if schedules:
        deployment.schedules = [*schedules]
    else:
        # not even an empty list: that would take away those that are there
        deployment.model_fields_set.discard("schedules")
    return deployment


def _merged(before: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Both, down to the variables of the environment."""
    merged = {**before, **wanted}
    if "env" in before and "env" in wanted:
        merged["env"] = {**before["env"], **wanted["env"]}
    return merged


def _prefects(schedule: Schedule, *, active: bool) -> DeploymentScheduleCreate:
    from datetime import timedelta

    from prefect.client.schemas.actions import DeploymentScheduleCreate
    from prefect.client.schemas.schedules import construct_schedule

    interval = None if schedule.interval is None else timedelta(seconds=schedule.interval)
    when = construct_schedule(interval=interval, cron=schedule.cron, rrule=schedule.rrule, timezone=schedule.timezone)
    return DeploymentScheduleCreate(schedule=when, active=active, parameters=dict(schedule.parameters))
