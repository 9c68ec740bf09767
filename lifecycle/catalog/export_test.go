package catalog

// Ahead returns the bytes that readahead holds.
func Ahead(c *Catalog) int64 { return c.ahead.Load() }
