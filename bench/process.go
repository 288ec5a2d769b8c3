package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// server is a running firn, or Kafka, whose processor time is measured.
type server struct {
	cmd   *exec.Cmd
	pid   int               // 0 for that of cmd itself
	where map[string]string // "kafka" → address, …
	log   string            // path
}

// startServer runs firn and returns when it says that it is ready.
func (b *bench) startServer(ctx context.Context, dir string, args ...string) (*server, error) {
	return b.startServerIn(ctx, nil, dir, args...)
}

// startBroker runs a broker on the folder's store.
func (b *bench) startBroker(ctx context.Context, dir string, more ...string) (*server, error) {
	return b.startServer(ctx, dir, append([]string{"broker", "--store", "file://" + dir + "/store", "--kafka", "127.0.0.1:0", "--http", "127.0.0.1:0"}, more...)...)
}

// startServerIn is startServer with more in the environment.
func (b *bench) startServerIn(ctx context.Context, environment []string, dir string, args ...string) (*server, error) {
	s := &server{cmd: exec.CommandContext(ctx, b.firn, args...), where: map[string]string{}, log: dir + "/log"}
	s.cmd.Env = append(os.Environ(), environment...)
	log, err := os.OpenFile(s.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	s.cmd.Stderr = log
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if strings.HasPrefix(lines.Text(), "ready") {
			return s, nil
		}
		if words := strings.Fields(lines.Text()); len(words) > 1 {
			s.where[words[0]] = words[1]
		}
	}
	text, _ := os.ReadFile(s.log) // only to explain the failure
	return nil, fmt.Errorf("firn %s did not start: %w\n%s", strings.Join(args, " "), s.cmd.Wait(), text)
}

// stop ends the process and returns what it used of the processor in its whole life.
func (s *server) stop() (time.Duration, error) {
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return 0, err
	}
	err := s.cmd.Wait()
	return cpu(s.cmd), err
}

func cpu(c *exec.Cmd) time.Duration { return c.ProcessState.UserTime() + c.ProcessState.SystemTime() }

// peak is the largest resident size of an ended process in KiB.
func peak(c *exec.Cmd) int64 {
	if usage, ok := c.ProcessState.SysUsage().(*syscall.Rusage); ok {
		return usage.Maxrss
	}
	return 0
}

// process is the id of the process that is measured.
func (s *server) process() int {
	if s.pid != 0 {
		return s.pid
	}
	return s.cmd.Process.Pid
}

// used is what the running process has used of the processor so far.
func (s *server) used() (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.process()))
	if err != nil {
		return 0, err
	}
	_, rest, ok := strings.Cut(string(text), ") ") // the name may hold spaces
	fields := strings.Fields(rest)
	if !ok || len(fields) < 13 {
		return 0, errors.New("cannot read /proc/PID/stat")
	}
	user, err1 := strconv.ParseInt(fields[11], 10, 64)
	system, err2 := strconv.ParseInt(fields[12], 10, 64)
	const tick = 10 * time.Millisecond // USER_HZ is 100 on Linux
	return time.Duration(user+system) * tick, errors.Join(err1, err2)
}

// metrics reads all samples of the process: name with labels → value.
func (s *server) metrics(ctx context.Context) (map[string]float64, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.where["http"]+"/metrics", nil)
	if err != nil {
		return nil, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, err
	}
	samples := map[string]float64{}
	for _, line := range strings.Split(string(text), "\n") {
		if name, value, ok := strings.Cut(line, " "); ok && !strings.HasPrefix(line, "#") {
			if v, err := strconv.ParseFloat(value, 64); err == nil {
				samples[name] = v
			}
		}
	}
	return samples, nil
}

// sum adds all samples of a metric, whatever their labels.
func sum(samples map[string]float64, metric string) float64 {
	var total float64
	for name, v := range samples {
		if bare, _, _ := strings.Cut(name, "{"); bare == metric {
			total += v
		}
	}
	return total
}

// grown is by how much the sum of a metric has grown between two readings.
func grown(before, after map[string]float64, metric string) float64 {
	return sum(after, metric) - sum(before, metric)
}
