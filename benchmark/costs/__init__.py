"""What models cost: parameters, throughput, memory, and where it was measured.

May live here: measurements that users run. Those of the documentation stand in `docs/experiments`.
"""
