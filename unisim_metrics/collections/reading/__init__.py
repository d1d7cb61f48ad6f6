"""From names of files to rows: what a collection's inputs are, how they are cut into shards, and what stands in these.

May live here: one module a kind of input, and what plans their shards. It decodes no image and scores nothing.
"""
