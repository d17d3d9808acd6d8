"""Tests of visor_core.lineage on lineage files as builds leave them."""
