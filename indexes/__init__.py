"""Recipes: how each hash type is indexed and its thresholds (a person writes pdq.toml), beside what was measured
for them (a benchmark writes pdq.measured.json). Installed as `hashmatch.indexes`; read by `hashmatch.index.recipe`.
"""
