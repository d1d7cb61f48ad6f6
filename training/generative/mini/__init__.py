"""A generative model made from nothing but a small vision tower and photos: `unisim-ll-mini`."""
