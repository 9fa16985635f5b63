"""What a run is computed on: threads, cores, clock, and what the machine is."""
