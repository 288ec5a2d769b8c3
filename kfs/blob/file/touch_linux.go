package file

import (
	"os"

	"golang.org/x/sys/unix"
)

// touch sets the time of an open file to the file system's own: on a network file system the server's, not this machine's.
func touch(f *os.File) error {
	// utimensat(fd, NULL, NULL, 0), which no wrapper offers.
	if _, _, errno := unix.Syscall6(unix.SYS_UTIMENSAT, f.Fd(), 0, 0, 0, 0, 0); errno != 0 {
		return &os.PathError{Op: "touch", Path: f.Name(), Err: errno}
	}
	return nil
}
