"""From a finished run to a model that anyone can load: its folder, its card, the Hub.

May live here: what happens after training.
"""
