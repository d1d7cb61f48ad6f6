"""The `evaluate` module: its folder, its way into the modules cache and to the Hub, and what it computes with."""
