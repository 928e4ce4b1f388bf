package main

import (
	"net"
	"os"
)

// notify tells the service manager what the server is about to do, if there is one
// that wants to know (sd_notify(3)): READY=1 or STOPPING=1. It may get lost.
func notify(state string) {
	socket := os.Getenv("NOTIFY_SOCKET")
	if socket == "" {
		return
	}
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: socket, Net: "unixgram"}) // a leading @ is an abstract name
	if err != nil {
		return
	}
	_, _ = c.Write([]byte(state))
	_ = c.Close()
}
