"""A tiny form of every image pipeline of diffusers that calls back after its steps, with random weights."""
