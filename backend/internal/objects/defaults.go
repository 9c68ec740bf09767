package objects

// What the options of a driver are where nothing is configured.
const (
	DefaultPartSize    = 8 << 20
	DefaultMemory      = 48 << 20
	DefaultStageAbove  = 16 << 20
	DefaultConnections = 32
	DefaultParallel    = 16 // parts published at a time
)
