"""What the suite costs on this machine, beside what a user would take instead.

``python -m benchmarks`` runs all that the machine can run; ``make bench`` sets it up first.

==========================  =====================================================================
:mod:`benchmarks.case`      what a case is
:mod:`benchmarks.cases`     all of them, as data
:mod:`benchmarks.work`      the folder that a case's programs start from: weights, batches, answers
:mod:`benchmarks.process`   a program as a process that answers lines of JSON
:mod:`benchmarks.measure`   programs in turns, behind the gate of their checks
:mod:`benchmarks.programs`  the suite's own programs
:mod:`benchmarks.peers`     foreign programs, and their environments
:mod:`benchmarks.tables`    from raw results to tables; :mod:`benchmarks.pages` to files
==========================  =====================================================================
"""
