"""The command line: the only room that imports click.

A command is a module: ``cli/<noun>/<verb>.py``, those without a noun in ``cli/cluster`` when they
are about a cluster and here otherwise. Its options, and its results as documents and as text, are
beside it. Modules that begin with an underscore are what all commands stand on.
"""
