"""What data sets are made of: files, folders, arrays, and the cache."""
