"""Judges beside UniSim that people report: one file each, with its weights' layout, its preparation and its formula.

May live here: what reads the published weights of one judge and answers as it does. A judge subclasses `Judge` (or an
encoder, where it is one), says in `tasks` what it answers, and is named in the registry; nothing else knows it.
"""
