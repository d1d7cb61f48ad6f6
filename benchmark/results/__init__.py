"""What a run leaves, and what is read from it: result files, averages, comparisons of models.

May live here: what reads or writes results. Nothing here loads a model.
"""
