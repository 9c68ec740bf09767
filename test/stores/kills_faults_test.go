//go:build faults

package stores

// kills is how often TestKillWorkerOSS kills.
const kills = 200
