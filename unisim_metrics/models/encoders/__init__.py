"""Models that judge by the similarity of embeddings, one file a kind.

May live here: subclasses of `EncoderModel`. They import images, maths and what stands beside them in `models`.
"""
