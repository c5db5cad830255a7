"""Foreign programs that train and translate the same, each in an environment of its own.

=====================  =====================  ===================================================
peer                   tasks                  with our weights
=====================  =====================  ===================================================
``opennmt``            train, translate       the same function; beams stop by another rule
``torch_transformer``  train                  the same function
``marian``             train, translate       another function: norms come after the sums
``ctranslate2``        translate              the same function; beams stop by another rule
=====================  =====================  ===================================================

``python -m benchmarks.peers.environments`` makes the environments; :mod:`benchmarks.peers.protocol`
says how the benchmarks speak with the programs.
"""
