"""From candidates to one order of pages: pure functions of what was found and of the query."""
