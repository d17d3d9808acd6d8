"""Pure measures shared by rewards and evaluation: answers, retrieval, ledger, crops, citations, recorded facts."""
