"""How a run is computed: fast paths, threads, clock, and what the machine is."""
