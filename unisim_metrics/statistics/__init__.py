"""How sure a figure is: intervals, the bootstrap, paired tests, shares of wins, strengths, rank correlation.

May live here: functions of numbers. They know no result file and no model.
"""
