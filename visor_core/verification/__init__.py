"""Verification at inference: several finished episodes of one question, of which one answers.

`features` says of an episode, without any gold, what speaks for its answer; `selection` chooses by those features;
`learnt` fits their weights on questions whose outcome is known; `curve` measures success against tokens.

>>> from visor_core.verification.selection import SCORERS
>>> sorted(SCORERS)
['agreement', 'combined', 'confidence', 'evidence', 'first', 'verdicts']
"""
