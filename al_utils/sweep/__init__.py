"""How many runs are run: sweep files, jobs, a Dask cluster, signals."""
