package main

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestBrokersLs(t *testing.T) {
	addr := memoryBroker(t)
	if _, err := runFirn(t, "topics", "create", "events", "--partitions", "3", "--brokers", addr); err != nil {
		t.Fatal(err)
	}
	out, err := runFirn(t, "brokers", "ls", "--brokers", addr)
	if lines := strings.Split(out, "\n"); err != nil || len(lines) != 3 || strings.Join(strings.Fields(lines[1]), " ") != "0 "+addr+" 3 yes" {
		t.Errorf("printed %q: %v", out, err)
	}
	out, err = runFirn(t, "brokers", "ls", "--brokers", addr, "--json")
	var rows []brokerInfo
	if err == nil {
		err = json.Unmarshal([]byte(out), &rows)
	}
	if err != nil || len(rows) != 1 || rows[0] != (brokerInfo{Address: addr, Controller: true, Leads: 3}) {
		t.Errorf("printed %q: %v", out, err)
	}
}
