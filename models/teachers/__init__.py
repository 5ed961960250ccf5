"""Teachers outside the run's engine, and the choice among all kinds."""
