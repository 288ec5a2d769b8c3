//go:build integration

package main

import (
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// jointCrew commits often, so that a run takes seconds.
const jointCrew = "name: crew\nsource: {topics: [load]}\ncommit: {file_size: 64KiB}\nerrors: {policy: halt}\n"

var committedRecords = regexp.MustCompile(`job crew: (\d+) records committed to default\.load`)

// jointRun is a bounded run in a process of its own.
type jointRun struct {
	cmd *exec.Cmd
	out lockedBuffer
	err chan error
}

// until starts processes that run the job to where it ends now.
func (c *crew) until(processes int) (all []*jointRun) {
	c.t.Helper()
	for range processes {
		r := &jointRun{cmd: exec.Command(fromEnv(c.t, "FIRN_BIN"), "process", "-f", c.job, "--data", c.data, "--etcd", c.addr, "--until", "latest"), err: make(chan error, 1)}
		r.cmd.Stdout, r.cmd.Stderr = &r.out, &r.out
		if err := r.cmd.Start(); err != nil {
			c.t.Fatal(err)
		}
		go func() { r.err <- r.cmd.Wait() }()
		all = append(all, r)
	}
	return all
}

// wait gives how the run has ended, and how many records its process has committed.
func (r *jointRun) wait(t *testing.T) (records int, err error) {
	t.Helper()
	select {
	case err = <-r.err:
	case <-time.After(waitLimit):
		r.cmd.Process.Kill()
		t.Fatalf("a bounded run has not ended after %v\n%s", waitLimit, tail(r.out.String(), 30))
	}
	if m := committedRecords.FindStringSubmatch(r.out.String()); m != nil {
		records, _ = strconv.Atoi(m[1])
	}
	return records, err
}

// TestIntegrationJointRun has three processes do a bounded run together, as pods of one Kubernetes Job do: they share the work; when one is
// killed the others do it all; and when a partition halts, all exit with that.
func TestIntegrationJointRun(t *testing.T) {
	c := newCrewOf(t, jointCrew, func(int) []string { return []string{"default.load"} }, 0)
	var acknowledged []int
	produce := func() {
		p := startProducer(t, c.broker, "load", len(acknowledged))
		time.Sleep(5 * time.Second)
		acknowledged = append(acknowledged, p.stop(t)...)
	}
	produce()
	total := 0
	for _, r := range c.until(3) {
		records, err := r.wait(t)
		if err != nil {
			t.Errorf("%v\n%s", err, tail(r.out.String(), 30))
		}
		total += records
		t.Logf("a process has committed %d records of %d", records, len(acknowledged))
	}
	if total != len(acknowledged) {
		t.Errorf("together they have committed %d records of %d", total, len(acknowledged))
	}
	for round := range 3 {
		produce()
		runs := c.until(3)
		time.Sleep(time.Duration(round+1) * 700 * time.Millisecond)
		if err := runs[round].cmd.Process.Kill(); err != nil {
			t.Logf("round %d: it had ended already", round)
		}
		for i, r := range runs {
			if _, err := r.wait(t); err != nil && i != round {
				t.Errorf("%v\n%s", err, tail(r.out.String(), 30))
			}
		}
		rows, err := readTable(t, c.data, "default.load")
		if err == nil {
			err = eachRowOnce(t, "of load", rows, acknowledged)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	client := newClient(t, c.broker, kgo.DefaultProduceTopic("load"))
	if err := client.ProduceSync(t.Context(), kgo.StringRecord("-")).FirstErr(); err != nil {
		t.Fatal(err)
	}
	for _, r := range c.until(3) {
		if _, err := r.wait(t); err == nil || r.cmd.ProcessState.ExitCode() != 1 || !strings.Contains(r.out.String(), "halt") {
			t.Errorf("a partition has halted, and a process ends with %v\n%s", err, tail(r.out.String(), 30))
		}
	}
}
