"""The terminal view `acms top`: runs, the DAG of one, patches, workers, breakers and events, as they change."""
