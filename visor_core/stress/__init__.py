"""Evaluation under changed conditions: counterfactual documents, orders on pages, and curves of success by difficulty.

`edits` says what is done to a document and `editing` does it, in a process of its own; `derived` makes a corpus of it
beside the original; `conditions` plays the questions there. `counterfactuals` and `injections` ask what the answers
say then, `kinds` lists the rows of conditions that make a curve. Run by `visor counterfactual` and `visor stress KIND`.

>>> from visor_core.stress.kinds import KINDS
>>> sorted(KINDS)
['blur', 'distractors', 'hops', 'noise', 'resolution', 'rotation', 'scan', 'turns']
"""
