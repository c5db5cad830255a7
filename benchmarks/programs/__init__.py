"""The suite's own programs, which speak as the peers do: :mod:`benchmarks.peers.protocol`.

Each is started as ``python -m benchmarks.programs.KIND KIND FOLDER``. What a case's floor is
computed from stands in their ``settings``: ``flops_per_item`` or ``bytes_per_item``.
"""
