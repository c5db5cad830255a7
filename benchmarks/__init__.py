"""What the suite costs on this machine, relative to what a user would take instead.

``python -m benchmarks`` runs all cases; ``make bench`` sets the peers up first.

=============================  ==================================================================
:mod:`benchmarks.cases`        all cases, as data
:mod:`benchmarks.translation`  training, translation, loading, start: their folders of work, with
                               what their checks should give, and the suite's own programs
:mod:`benchmarks.layers`       the same for single layers and the machine's own rates
:mod:`benchmarks.peers`        foreign programs, and their environments
:mod:`benchmarks.protocol`     how a program is started and asked, and its folder of work
:mod:`benchmarks.checks`       no speed without a right answer
:mod:`benchmarks.runner`       programs in turns, quantiles and ratios
:mod:`benchmarks.page`         from raw results to tables, figures and pages
:mod:`benchmarks.data_scale`   what a corpus of millions of pairs costs
=============================  ==================================================================
"""
