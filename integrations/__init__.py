"""Plugs for other ecosystems: Hugging Face `evaluate`, diffusers, and rewards for RL fine-tuning, and a server of them."""
