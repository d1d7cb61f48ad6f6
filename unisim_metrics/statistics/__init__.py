"""How sure a figure is: intervals, the bootstrap, paired tests, rank correlation.

May live here: functions of numbers. They know no result file and no model.
"""
