"""What the package costs, measured as ratios within one run: time, memory, passes through an encoder.

One file a subject: `python -m docs.experiments.speed.SUBJECT`.
"""
