"""plumbline's trainer beside TRL's DPOTrainer: `python -m benchmarks.trainer` from the repository's root."""
