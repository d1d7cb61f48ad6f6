"""Plugs for other ecosystems: Hugging Face `evaluate` and diffusers."""
