"""Weights on the disk: reading them strictly, merging adapters, writing them as others read them.

May live here: one file a layout. What is fetched comes through `sources`.
"""
