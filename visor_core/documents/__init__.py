"""Bytes → documents → pages: sources, validation, rasterising, words with boxes, OCR, re-rasterised crops.

Everything that parses foreign bytes runs in worker processes (`pool`, `drawer`) with a time and a memory limit; this
package knows nothing of the index that stores its results.
"""
