"""A map over items on an executor: a process pool on one machine, or a Dask cluster."""
