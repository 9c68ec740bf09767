package main

import (
	"net"
	"os"
	"strconv"
)

// notifyManager tells a service manager how the mount is doing, as
// sd_notify(3) does. Without one, or on failure, nothing happens: the mount
// does not depend on it.
func notifyManager(state string) {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"}) // @ is an abstract name here too
	if err != nil {
		return
	}
	_, _ = conn.Write([]byte(state)) // see above
	_ = conn.Close()
}

func notifyReady() { notifyManager("READY=1\nMAINPID=" + strconv.Itoa(os.Getpid())) }
