"""Populations of strategies: how shares of strategies change when what pays spreads.

``replicator`` (infinite populations), ``fermi`` and ``moran`` (finite ones), ``selection`` (generations of bit strings),
``stationary`` (the long run when mutants are rare), ``culture`` (generations that inherit policies), ``payoffs`` (what
strategies earn in a population), ``public_goods`` and ``norms`` (populations of the literature). Everything is batched
over populations: the leading axes of an array are populations, the last is strategies or agents. Random numbers are
addressed by seed, population and step, so that a population is the same in a batch of any size.
"""
