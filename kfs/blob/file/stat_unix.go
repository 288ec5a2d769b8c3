//go:build unix

package file

import (
	"io/fs"
	"syscall"
)

func inode(stat fs.FileInfo) uint64 { return uint64(stat.Sys().(*syscall.Stat_t).Ino) }
func links(stat fs.FileInfo) uint64 { return uint64(stat.Sys().(*syscall.Stat_t).Nlink) }
