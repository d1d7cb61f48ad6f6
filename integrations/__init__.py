"""Plugs for other ecosystems: Hugging Face `evaluate`, diffusers, rewards for RL fine-tuning, and their server."""
