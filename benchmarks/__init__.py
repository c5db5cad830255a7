"""What the suite costs on this machine, relative to what a user would take instead.

``python -m benchmarks`` runs all that the machine can run; ``make bench`` sets it up first.

============================  ===================================================================
:mod:`benchmarks.cases`       all cases, as data
:mod:`benchmarks.work`        the folder that a case's programs start from
:mod:`benchmarks.programs`    the suite's own programs, and what their checks should give
:mod:`benchmarks.peers`       foreign programs, and their environments
:mod:`benchmarks.checks`      the gate: no speed without a right answer
:mod:`benchmarks.measure`     programs in turns, quantiles and ratios
:mod:`benchmarks.page`        from raw results to tables, figures and pages
:mod:`benchmarks.data_scale`  what a corpus of millions of pairs costs
============================  ===================================================================
"""
