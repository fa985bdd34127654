"""Which sampler is better, on what, and how sure is that? Problems x samplers x seeds, and the tables made of them.

For samplers of your own, wherever they come from: tables of designs that were all trained and measured before.
"""

from mobo.benchmark.query_table import BenchmarkTable, keyword_table, wisdm_table

__all__ = ["BenchmarkTable", "keyword_table", "wisdm_table"]
