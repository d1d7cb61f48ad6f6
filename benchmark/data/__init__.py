"""A set's files: fetched, unpacked, and images read ahead of their use.

May live here: what lies between the disk, or the Hub, and a data set or model.
"""
