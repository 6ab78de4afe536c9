"""The wire and the records in words, packaged as `hashmatch.schema` so that exports of the log carry them."""
