"""The hands: Prefect tasks and what they do, one side effect each, safe to run twice."""
