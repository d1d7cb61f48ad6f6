"""Where a model's files come from: the Hub, archives.

May live here: what brings files to this machine. It knows nothing of what stands in them.
"""
