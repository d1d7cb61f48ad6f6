"""Vision-language models that judge by the letter with which they would answer.

May live here: how a question is put, shown and answered. Reading weights is the business of `checkpoints`.
"""
