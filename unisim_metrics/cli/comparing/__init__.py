"""`unisim compare` and `unisim calibrate`, and the contest of generators that `unisim rank --prompts` holds.

May live here: what holds scores against other scores, and shows what that says. Nothing is scored here.
"""
