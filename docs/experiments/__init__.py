"""What makes the figures and tables of the documentation, one command each; not installed.

Run from a clone: `python -m docs.experiments.NAME`. Several of one subject stand in a folder.
"""
