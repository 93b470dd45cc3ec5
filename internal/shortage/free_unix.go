//go:build linux || darwin

package shortage

import "syscall"

// freeBytes is how many bytes a folder's disk has left for this process, where that is known.
func freeBytes(dir string) (n int64, known bool) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return 0, false
	}
	return int64(s.Bavail) * int64(s.Bsize), true //nolint:gosec,unconvert // a disk's size; the types differ between systems
}
