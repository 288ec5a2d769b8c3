package exec

import (
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"
)

// TestLimitData: a program that is bounded already gets no more by that.
func TestLimitData(t *testing.T) {
	c := exec.Command("sleep", "3600")
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	defer c.Wait()
	defer c.Process.Kill()
	for _, step := range []struct{ limit, want int64 }{{2 << 30, 2 << 30}, {1 << 30, 1 << 30}, {2 << 30, 1 << 30}} {
		if err := limitData(c.Process.Pid, step.limit); err != nil {
			t.Fatal(err)
		}
		var is unix.Rlimit
		if err := unix.Prlimit(c.Process.Pid, unix.RLIMIT_DATA, nil, &is); err != nil {
			t.Fatal(err)
		}
		if want := uint64(step.want); is.Cur != want || is.Max != want {
			t.Errorf("%d of %d after a limit of %d, want %d", is.Cur, is.Max, step.limit, want)
		}
	}
}
