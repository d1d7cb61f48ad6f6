"""UniSim-Bench: tasks, datasets, runner, results and statistics."""
