"""The trainer of UniSim's CLIP models, on Accelerate: from a recipe and triplets to an adapter.

May live here: what only the training of encoders needs; what both trainers share stands above.
"""
