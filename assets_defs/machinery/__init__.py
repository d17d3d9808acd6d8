"""What all assets share: stages, builds and their states, checks, the resource they get, work in processes."""
