"""The page that `unisim rank` and `unisim compare` write: a verdict with its figures and pictures in one file.

May live here: what makes that page. The figures come from a contest; nothing is judged here.
"""
