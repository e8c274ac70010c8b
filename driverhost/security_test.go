package driverhost_test

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/client"
	"github.com/drvhost/drvhost/driverhost/drivertest"
	"github.com/drvhost/drvhost/nt"
)

// asUser runs f on a thread that is another user to the sockets that it connects. The thread ends
// with it.
func asUser(t *testing.T, uid, gid uintptr, f func()) {
	t.Helper()
	failed := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked
		const keep = ^uintptr(0)
		_, _, e1 := syscall.RawSyscall(syscall.SYS_SETGROUPS, 0, 0, 0)
		_, _, e2 := syscall.RawSyscall(syscall.SYS_SETRESGID, keep, gid, keep)
		_, _, e3 := syscall.RawSyscall(syscall.SYS_SETRESUID, keep, uid, keep)
		if e1|e2|e3 != 0 {
			failed <- errors.Join(e1, e2, e3)
			return
		}
		f()
		failed <- nil
	}()
	require.NoError(t, <-failed)
}

func TestASecurityDescriptorIsEnforcedAtOpen(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("this test opens a device as two users, and so must run as root: run it with sudo")
	}
	h := drivertest.Load(t, fixture(t, "fastio"))
	dir := serve(t, h)
	require.NoError(t, os.Chmod(dir, 0o755))
	sockets, err := filepath.Glob(filepath.Join(dir, "*"))
	require.NoError(t, err)
	for _, s := range append(sockets, h.Socket()) {
		info, err := os.Lstat(s)
		require.NoError(t, err)
		switch {
		case info.IsDir():
			require.NoError(t, os.Chmod(s, 0o755))
		case info.Mode()&os.ModeSocket != 0:
			require.NoError(t, os.Chmod(s, 0o777))
		}
	}
	const nobody = 65534
	open := func(uid uintptr, access uint32, name string) (err error) {
		asUser(t, uid, uid, func() {
			var f *client.File
			f, err = client.Open(name, client.Socket(h.Socket()), client.Access(access))
			if err == nil {
				err = f.Close()
			}
		})
		return err
	}
	const rw = nt.GENERIC_READ | nt.GENERIC_WRITE
	require.NoError(t, open(nobody, rw, `\\.\FastIo`), "a device without a descriptor is everybody's")

	admin, err := client.Open(`\\.\FastIo`, client.RuntimeDir(dir),
		client.Access(rw|nt.WRITE_DAC|nt.READ_CONTROL))
	require.NoError(t, err)
	defer admin.Close()
	user, group := nt.SIDForUID(nobody), nt.SIDForGID(nobody)
	everyone, err := nt.ParseSID("S-1-1-0")
	require.NoError(t, err)
	system, err := nt.ParseSID("S-1-5-18")
	require.NoError(t, err)
	allow := func(s nt.SID, mask uint32) nt.ACE { return nt.ACE{Mask: mask, SID: s} }
	deny := func(s nt.SID, mask uint32) nt.ACE { return nt.ACE{Type: 1, Mask: mask, SID: s} }
	for _, c := range []struct {
		fact   string
		dacl   []nt.ACE
		uid    uintptr
		access uint32
		want   nt.Status
	}{
		{"an empty list lets nobody in", nil, nobody, nt.GENERIC_READ, nt.STATUS_ACCESS_DENIED},
		{"not even root", nil, 0, nt.GENERIC_READ, nt.STATUS_ACCESS_DENIED},
		{"root is SYSTEM", []nt.ACE{allow(system, nt.GENERIC_ALL)}, 0, rw, 0},
		{"another user is not", []nt.ACE{allow(system, nt.GENERIC_ALL)}, nobody, rw,
			nt.STATUS_ACCESS_DENIED},
		{"a user by its uid", []nt.ACE{allow(user, nt.GENERIC_ALL)}, nobody, rw, 0},
		{"a user by its gid", []nt.ACE{allow(group, nt.GENERIC_ALL)}, nobody, rw, 0},
		{"reading only", []nt.ACE{allow(everyone, nt.GENERIC_READ)}, nobody, nt.GENERIC_READ, 0},
		{"and not writing", []nt.ACE{allow(everyone, nt.GENERIC_READ)}, nobody, rw,
			nt.STATUS_ACCESS_DENIED},
		{"a denial before", []nt.ACE{deny(user, nt.GENERIC_WRITE), allow(everyone, nt.GENERIC_ALL)},
			nobody, rw, nt.STATUS_ACCESS_DENIED},
		{"a denial behind", []nt.ACE{allow(everyone, nt.GENERIC_ALL), deny(user, nt.GENERIC_WRITE)},
			nobody, rw, 0},
		{"as much as there is", []nt.ACE{allow(everyone, nt.GENERIC_READ)}, nobody,
			nt.MAXIMUM_ALLOWED, 0},
	} {
		sd := nt.Descriptor{Control: nt.SE_DACL_PRESENT, DACL: c.dacl}
		require.NoError(t, admin.SetSecurity(nt.DACL_SECURITY_INFORMATION, sd.Append(nil)), c.fact)
		for _, name := range []string{`\\.\FastIo`, `\\.\FastIo\below`} { // FILE_DEVICE_SECURE_OPEN
			err := open(c.uid, c.access, name)
			if c.want == 0 {
				assert.NoError(t, err, c.fact)
			} else {
				assert.ErrorIs(t, err, c.want, c.fact)
			}
		}
		buf := make([]byte, 512)
		n, err := admin.QuerySecurity(nt.DACL_SECURITY_INFORMATION, buf)
		require.NoError(t, err)
		got, err := nt.ParseDescriptor(buf[:n])
		require.NoError(t, err)
		assert.Equal(t, c.dacl, got.DACL, c.fact)
	}
}
