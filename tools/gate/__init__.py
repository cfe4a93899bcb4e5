"""The gate: what ``make test`` and CI run.

A part is one command and the files that it reads. Parts run side by side over all processors, and a
part whose files and environment are those of a run that passed is not run again.

- ``parts``: the table of all parts; ``selection``: those that ``ARGS`` asks for
- ``inputs``: the files that a part reads; ``environment``: all else that its result depends on
- ``sandbox``: runs a part where it sees its own inputs only
- ``results``: results that are kept; ``history``: what parts took in the last runs
- ``scheduler``: runs commands; ``machine``: what a run shares with others on this machine
- ``run``: brings these together; ``report``: what is printed; ``floors``: coverage
"""
