"""Training of generative UniSim models: instruction data, fine-tuning, and a small model made from nothing."""
