"""What a training survives: faults done to real trainings of a tiny model, and whether they come out the same."""
