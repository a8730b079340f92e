"""Phases of a run inside a flow of one's own: `python examples/own_flow.py path/to/repository`."""

import asyncio
import sys
from collections import Counter
from pathlib import Path

from prefect import flow

from prefect_acms.blocks.config import Mode, PipelineConfig
from prefect_acms.flows import configure_run, discover_gaps, summarize_run


@flow
async def count_findings(repository: Path) -> dict[str, int]:
    """How many gaps there are in each category; nothing is changed."""
    run = await configure_run(PipelineConfig(repository=repository, mode=Mode.ANALYZE_ONLY))
    gaps = await discover_gaps(run.run_id, epoch=run.epoch)
    await summarize_run(run.run_id, epoch=run.epoch)
    return Counter(gap.category for gap in gaps)


if __name__ == "__main__":
    for category, number in sorted(asyncio.run(count_findings(Path(sys.argv[1]))).items()):
        print(f"{number:5} {category}")
