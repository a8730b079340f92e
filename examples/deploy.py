"""Deploy the pipeline from Python, nightly for one repository: `python examples/deploy.py path/to/repository`."""

import asyncio
import sys
from pathlib import Path
from uuid import UUID

from prefect.client.schemas.schedules import CronSchedule
from prefect.types.entrypoint import EntrypointType

from prefect_acms.flows import acms_pipeline


async def deploy(repository: Path, pool: str = "acms") -> UUID:
    """The id of the deployment; a worker of that pool (`acms worker`) runs it, without pulling any code."""
    deployment = await acms_pipeline.ato_deployment(
        name=f"nightly {repository.name}",
        work_pool_name=pool,
        parameters={"config": {"repository": str(repository)}},
        schedules=[CronSchedule(cron="0 3 * * *", timezone="UTC")],
        entrypoint_type=EntrypointType.MODULE_PATH,
    )
    return UUID(str(await deployment.aapply()))


if __name__ == "__main__":
    print(asyncio.run(deploy(Path(sys.argv[1]))))
