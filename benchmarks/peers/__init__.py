"""Foreign programs that train and translate the same, each in an environment of its own.

=====================  =====================  ===================================================
peer                   tasks                  with our weights
=====================  =====================  ===================================================
``opennmt``            train, translate       the same function; its beam search stops earlier
``torch_transformer``  train                  the same function
``marian``             train, translate       another function: its layer norms come after the sums
``ctranslate2``        translate              the same function; its beam search stops earlier
=====================  =====================  ===================================================

``python -m benchmarks.peers.environments`` makes the environments; :mod:`benchmarks.peers.protocol`
says how the benchmarks speak with the programs.
"""
