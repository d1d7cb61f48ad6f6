"""A model through the sets: what is planned, embedded, asked, judged and kept.

May live here: what happens between `run` and its result files.
"""
