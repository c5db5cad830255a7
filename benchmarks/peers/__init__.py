"""Foreign programs that train and translate the same, each in an environment of its own.

=====================  =====================  ===================================================
peer                   tasks                  with our weights
=====================  =====================  ===================================================
``opennmt``            train, translate       the same function; beams stop by another rule
``torch_transformer``  train                  the same function
``marian``             train                  another function: norms come after the sums
``ctranslate2``        translate              the same function; beams stop by another rule
=====================  =====================  ===================================================

A peer is a module here, which answers requests as :mod:`benchmarks.protocol` has them, and its
requirements in :mod:`benchmarks.peers.environments`; a case names it as a runner.
"""
