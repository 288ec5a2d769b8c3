package broker

import (
	"fmt"
	"net"
	"strconv"

	"github.com/firn-io/firn/broker/cluster"
)

// self is this broker as clients and other brokers see it.
func (b *Broker) self() (cluster.Broker, error) {
	if b.cfg.Advertise != "" {
		self, err := parseAddress(b.cfg.Advertise)
		self.ID = b.cfg.ID
		return self, err
	}
	at, ok := b.listener.Addr().(*net.TCPAddr)
	if !ok {
		return cluster.Broker{}, fmt.Errorf("%s is no TCP address", b.listener.Addr())
	}
	host, _, err := net.SplitHostPort(b.cfg.Listen)
	if err != nil {
		return cluster.Broker{}, err
	}
	if host == "" || at.IP.IsUnspecified() {
		host = reachable()
	}
	return cluster.Broker{ID: b.cfg.ID, Host: host, Port: int32(at.Port)}, nil
}

// parseAddress reads host:port with neither missing.
func parseAddress(s string) (cluster.Broker, error) {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return cluster.Broker{}, fmt.Errorf("want host:port: %w", err)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 || host == "" {
		return cluster.Broker{}, fmt.Errorf("%q: want host:port, with a port from 1 to 65535", s)
	}
	return cluster.Broker{Host: host, Port: int32(n)}, nil
}

// reachable is an address of this machine that others can reach, as far as one can tell; the loopback address if there is none.
func reachable() string {
	addresses, err := net.InterfaceAddrs()
	if err == nil {
		for _, a := range addresses {
			if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil && n.IP.IsGlobalUnicast() {
				return n.IP.String()
			}
		}
	}
	return "127.0.0.1"
}
